"""Export of a quantizer to FAISS."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from skperco.codes._encoder import CodeEncoder
from skperco.codes._fixed_codes import BinaryCode, IntegerCode
from skperco.codes._residual_code import N_CENTROIDS
from skperco.utils._optional_imports import import_extra

_BITS_PER_BYTE = 8


class FaissMixin:
    """Adds `to_faiss` to a quantizer."""

    encoder_: CodeEncoder

    def to_faiss(self) -> Any:
        """Make a trained, empty FAISS index for the codes.

        ``index.add_sa_codes(quantizer.encode(documents))`` adds documents, and
        ``index.search(quantizer.transform_queries(queries), k)`` searches them. An index of
        binary codes takes codes on both sides: ``index.add(codes)``, ``index.search(codes, k)``.

        Returns
        -------
        index : faiss.IndexPQ, IndexResidualQuantizer, IndexScalarQuantizer or IndexBinaryFlat
            IndexPQ for product and scalar codes whose bytes have the same number of dimensions.
            Distances are squared and euclidean. With ``metric="cosine"`` FAISS cannot divide by
            the norm of a decoded row: the index holds decoded rows without normalization, divided
            by ``encoder_.query_scale``, with which the order of near neighbors is nearly that
            of the cosine.

        Raises
        ------
        NotFittedError
            If the quantizer is not fitted.
        ValueError
            If the bits of an integer code are not all used, which FAISS does not support.
        ImportError
            If faiss is not installed.
        """
        check_is_fitted(self, "encoder_")
        faiss = import_extra("faiss", "faiss", "to make indexes")
        code, scale = self.encoder_.code, float(self.encoder_.query_scale)
        if isinstance(code, BinaryCode):
            return faiss.IndexBinaryFlat(_BITS_PER_BYTE * code.n_bytes)
        if isinstance(code, IntegerCode):
            return _scalar_index(faiss, code, scale)
        codebooks = [codebook / scale for codebook in code.codebooks()]
        if len({codebook.shape for codebook in codebooks}) == 1 and len(codebooks[0]) == 1:
            return _product_index(faiss, codebooks)
        return _residual_index(faiss, codebooks)


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
    index = faiss.IndexPQ(
        centroids.shape[0] * centroids.shape[2], len(centroids), _BITS_PER_BYTE, faiss.METRIC_L2
    )
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
