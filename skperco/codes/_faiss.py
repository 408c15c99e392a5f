"""Export of a quantizer to FAISS."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from skperco.codes._check_codes import check_codes
from skperco.codes._encoder import CodeEncoder
from skperco.codes._fixed_codes import BinaryCode, IntegerCode
from skperco.codes._residual_code import N_CENTROIDS
from skperco.codes._scalar_code import ScalarCode
from skperco.utils._chunking import chunks
from skperco.utils._optional_imports import import_extra

_BITS_PER_BYTE = 8
# Number of coarse codes of a row in the first pass, and bits of each. With more codes, the pass is
# slower; with fewer, more neighbors are missing among the candidates.
_MAX_COARSE_CODES = 48
_COARSE_BITS = 4
_MAX_ROWS_TO_TRAIN = 2**14
_ROWS_PER_CHUNK = 2**16
_SEED = 0


class FaissMixin:
    """Adds `to_faiss` to a quantizer."""

    encoder_: CodeEncoder
    n_bytes_: int

    def to_faiss(self, codes: ArrayLike | None = None, *, k_factor: float | None = None) -> Any:
        """Make a trained FAISS index of codes, or an empty one.

        ``index.add_sa_codes(quantizer.encode(documents))`` adds documents, and
        ``index.search(quantizer.transform_queries(queries), k)`` searches them. An index of
        binary codes takes codes on both sides: ``index.add(codes)``, ``index.search(codes, k)``.

        Parameters
        ----------
        codes : array-like of shape (n_samples, `n_bytes_`), uint8, default=None
            Codes of the documents. Without them the index is empty.
        k_factor : float, default=None
            If given, a search for k neighbors has two passes: one over coarse codes of up to 48
            times 4 bits, which FAISS scans much faster (fast scan), finds k * `k_factor`
            candidates, and the other compares their codes. With 30, nearly all of the ten
            neighbors are found. The coarse codes take at most 24 bytes of memory for each row.
            They are trained on `codes`; further codes cannot be added with ``add_sa_codes``.

        Returns
        -------
        index : faiss.IndexPQ, IndexResidualQuantizer, IndexScalarQuantizer or IndexBinaryFlat
            With `k_factor` it is an IndexRefine around one of these.
            IndexPQ for product and scalar codes whose bytes, or words of two bytes, have the same
            number of dimensions.
            Distances are squared and euclidean. With ``metric="cosine"`` FAISS cannot divide by
            the norm of a decoded row: the index holds decoded rows without normalization, divided
            by ``encoder_.query_scale``, with which the order of near neighbors is nearly that
            of the cosine.

        Raises
        ------
        NotFittedError
            If the quantizer is not fitted.
        ValueError
            If the bits of an integer code or the bytes of a scalar code are not all used, or words
            of two bytes have different numbers of dimensions, which FAISS does not support; if
            `codes` are not those of the quantizer; if `k_factor` is less than 1, or given without
            codes or for binary codes.
        TypeError
            If `codes` are not of dtype uint8.
        ImportError
            If faiss is not installed.
        """
        check_is_fitted(self, "encoder_")
        faiss = import_extra("faiss", "faiss", "to make indexes")
        if k_factor is not None:
            self._check_two_passes(codes, k_factor)
        index = self._empty_index(faiss)
        if codes is None:
            return index
        codes = check_codes(codes, self.n_bytes_)
        add = index.add if isinstance(self.encoder_.code, BinaryCode) else index.add_sa_codes
        add(codes)
        return index if k_factor is None else _two_passes(faiss, index, codes, k_factor)

    def _check_two_passes(self, codes: ArrayLike | None, k_factor: float) -> None:
        if not k_factor >= 1:
            raise ValueError(f"k_factor must be at least 1, got {k_factor}.")
        if codes is None:
            raise ValueError("k_factor needs codes, on which the coarse codes are trained.")
        if isinstance(self.encoder_.code, BinaryCode):
            raise ValueError("k_factor must be None for binary codes, which need no first pass.")

    def _empty_index(self, faiss: Any) -> Any:
        code, scale = self.encoder_.code, float(self.encoder_.query_scale)
        if isinstance(code, BinaryCode):
            return faiss.IndexBinaryFlat(_BITS_PER_BYTE * code.n_bytes)
        if isinstance(code, IntegerCode):
            return _scalar_index(faiss, code, scale)
        codebooks = _word_codebooks(code) if isinstance(code, ScalarCode) else code.codebooks()
        codebooks = [codebook / scale for codebook in codebooks]
        if len({codebook.shape for codebook in codebooks}) == 1 and len(codebooks[0]) == 1:
            return _product_index(faiss, codebooks)
        return _residual_index(faiss, codebooks)


def _word_codebooks(code: ScalarCode) -> list[torch.Tensor]:
    """Codebooks of the words of a scalar code, of shape (1, number of values, n_dimensions)."""
    n_words, widths = len(code.widths), set(code.widths.tolist())
    if n_words * code.word_bytes < code.n_bytes:
        raise ValueError(
            f"to_faiss needs scalar codes without unused bytes, got {code.n_components} dimensions "
            f"in n_bytes={code.n_bytes}: reduce n_bytes."
        )
    if code.word_bytes > 1 and len(widths) > 1:
        raise ValueError(
            f"to_faiss needs the same number of dimensions in each of the {n_words} words of a "
            f"scalar code, got {code.n_components} dimensions: change n_components to {n_words}."
        )
    return [torch.from_numpy(code.centroids(word))[None] for word in range(n_words)]


def _two_passes(faiss: Any, index: Any, codes: NDArray[np.uint8], k_factor: float) -> Any:
    """An index that compares candidates of a fast scan with the codes in another index."""
    n_coarse = min(_MAX_COARSE_CODES, index.d)
    # Zeros are appended until the number of dimensions is divisible by that of the codes.
    width = math.ceil(index.d / n_coarse) * n_coarse
    scan = faiss.IndexPQFastScan(width, n_coarse, _COARSE_BITS, faiss.METRIC_L2)
    coarse = faiss.IndexPreTransform(faiss.RemapDimensionsTransform(index.d, width, False), scan)
    random_state = np.random.RandomState(_SEED)
    drawn = random_state.permutation(len(codes))[:_MAX_ROWS_TO_TRAIN]
    coarse.train(index.sa_decode(codes[drawn]))
    for rows in chunks(len(codes), _ROWS_PER_CHUNK):
        coarse.add(index.sa_decode(codes[rows]))
    refined = faiss.IndexRefine(coarse, index)
    refined.k_factor = k_factor
    return refined


def _scalar_index(faiss: Any, code: IntegerCode, scale: float) -> Any:
    if code.n_bits * code.n_components != _BITS_PER_BYTE * code.n_bytes:
        raise ValueError(
            f"to_faiss needs integer codes without unused bits, got {code.n_components} dimensions "
            f"in n_bytes={code.n_bytes}: reduce n_bytes or set n_components."
        )
    kind = getattr(faiss.ScalarQuantizer, f"QT_{code.n_bits}bit")
    index = faiss.IndexScalarQuantizer(code.n_components, kind, faiss.METRIC_L2)
    step, n_levels = float(code.step) / scale, 2**code.n_bits
    # FAISS decodes level i as minimum + (i + 1/2) / (n_levels - 1) * range.
    least, extent = -(n_levels / 2 + 0.5) * step, (n_levels - 1) * step
    trained = np.repeat([least, extent], code.n_components).astype(np.float32)
    faiss.copy_array_to_vector(trained, index.sq.trained)
    index.is_trained = True
    return index


def _product_index(faiss: Any, codebooks: list[torch.Tensor]) -> Any:
    centroids = torch.cat(codebooks)
    n_words, n_values, width = centroids.shape
    index = faiss.IndexPQ(n_words * width, n_words, n_values.bit_length() - 1, faiss.METRIC_L2)
    faiss.copy_array_to_vector(centroids.flatten().numpy(), index.pq.centroids)
    index.is_trained = True
    return index


def _residual_index(faiss: Any, codebooks: list[torch.Tensor]) -> Any:
    centroids = _in_all_dimensions(codebooks)
    index = faiss.IndexResidualQuantizer(
        centroids.shape[2],
        len(centroids),
        _BITS_PER_BYTE,
        faiss.METRIC_L2,
        faiss.AdditiveQuantizer.ST_decompress,
    )
    faiss.copy_array_to_vector(centroids.ravel(), index.rq.codebooks)
    index.rq.is_trained = index.is_trained = True
    return index


def _in_all_dimensions(codebooks: list[torch.Tensor]) -> NDArray[np.float32]:
    """Centroids of all bytes, with zeros in the dimensions of the other groups."""
    n_bytes, _, n_dimensions = map(
        sum, zip(*(codebook.shape for codebook in codebooks), strict=True)
    )
    centroids = np.zeros((n_bytes, N_CENTROIDS, n_dimensions), dtype=np.float32)
    byte = dimension = 0
    for codebook in codebooks:
        n_levels, _, width = codebook.shape
        centroids[byte : byte + n_levels, :, dimension : dimension + width] = codebook
        byte, dimension = byte + n_levels, dimension + width
    return centroids
