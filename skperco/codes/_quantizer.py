"""CoherenceQuantizer: a transformer to codes of a few bytes."""

import copy
import numbers
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
    clone,
)
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.utils import Tags, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted

from skperco.codes._check_codes import check_codes
from skperco.codes._encoder import CodeEncoder
from skperco.codes._export import CodeExportMixin
from skperco.codes._faiss import FaissMixin
from skperco.codes._files import QuantizerFileMixin
from skperco.codes._methods import METHODS, dimension_limits
from skperco.codes._quantizer_fit import CodeOptions, QuantizerFit
from skperco.distiller import CoherenceDistiller
from skperco.metrics._scores import perception_coherence_score
from skperco.students._embed import apply_to_rows
from skperco.training._check_samples import check_samples
from skperco.training._progress import Progress
from skperco.training._samples import Samples
from skperco.utils._dask import LazyOutputMixin, embed_lazily, is_lazy
from skperco.utils._devices import device_here, device_of
from skperco.utils._global_settings import default_settings
from skperco.utils._types import Metric
from skperco.utils._validation import check_output, check_rows, given_teacher, is_sparse_metric

# At most this many fits: seven numbers of dimensions of product codes, four of residual codes,
# training of the distiller, and the final fit.
_MAX_FITS = 13
_SINGLE_BYTES = 4
_ROWS_PER_CHUNK = 2**13
# The beam search keeps many residuals for each row.
_ROWS_PER_CHUNK_OF_BEAMS = 2**9
_METRICS = ("cosine", "euclidean", "sqeuclidean")


class CoherenceQuantizer(
    LazyOutputMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    CallbackSupportMixin,
    QuantizerFileMixin,
    CodeExportMixin,
    FaissMixin,
    BaseEstimator,
):
    """Compress embeddings to codes of a few bytes that keep the ranking of dissimilarities.

    A :class:`CoherenceDistiller` reduces the dimension, and a vector quantizer codes the result.
    Method, number of dimensions, and whether the distiller is trained or keeps its closed form
    are chosen by the scores of held-out rows; the choice is then refit on all rows. The teacher
    is `teacher_embeddings`, or a `y` of floating-point numbers with two or more columns;
    otherwise X is its own teacher.

    Parameters
    ----------
    n_bytes : int, default=64
        Number of bytes of a code, at most those of a row of X, or of the teacher, in float32.
    method : {"auto", "residual", "product", "scalar", "int8", "int4", "binary"}, default="auto"
        - "residual": a sum of one of 256 vectors for each byte, found by beam search; for more
          than 16 bytes, the dimensions are divided into groups of up to 8 bytes;
        - "product": one of 256 vectors for each byte, in a few dimensions of its own; with fewer
          than two dimensions for a byte, pairs of bytes are residual codes of a few dimensions;
        - "scalar": levels for each dimension (transform coding), of which those of larger variance
          have more; encoding and training take the least time;
        - "int8", "int4", "binary": 8 bits, 4 bits or one bit for each dimension, for databases
          that take only these: unsigned integers with zero point 128 or 8, and signs;
        - "auto": product codes up to 128 bytes, which may code principal components or the columns
          of X themselves; up to 32 bytes also residual codes, which keep more, but take ten times
          as long to encode; and from 64 bytes on scalar codes.
    n_components : int, default=None
        Number of dimensions that are coded. If None, it is chosen on held-out rows: one to eight
        for each byte, and for "residual" up to 48, but at most 512 dimensions. For "int8", "int4"
        and "binary", it is as many as there are bits for. It is at most the number of features.
    metric : {"cosine", "euclidean", "sqeuclidean"}, default="cosine"
        Dissimilarity between decoded embeddings.
    teacher_metric : str or callable, default=None
        Dissimilarity between the teacher's embeddings, as in :class:`CoherenceDistiller`;
        `metric` if None.
    rank_power : float, default=0.5
        Balance between the nearest neighbors (0) and the order of all samples (1).
    distiller : CoherenceDistiller, default=None
        Reduces the dimension. A copy is fitted, with the quantizer's `metric`, `teacher_metric`,
        `rank_power`, `device`, a number of components and a seed. If None, it is a distiller with
        default parameters; with a teacher it is trained if that improves the held-out scores,
        and otherwise it keeps its closed form.
    beam_width : int, default=8
        Number of partial codes that encoding keeps for each row, if several bytes code the same
        dimensions; at most 4 of them for product codes.
    validation_fraction : float, default=0.1
        Fraction of the rows to hold out, up to 1,000 rows. With fewer than 20 held-out rows
        nothing is chosen by scores.
    max_samples : int, default=16384
        Number of rows, drawn at random, from which codes are trained. The closed form of the
        distiller is that of all rows.
    random_state : int, RandomState instance or None, default=None
        Determines the held-out rows and the fits. With an int, fits on the CPU are repeatable.
    device : str or torch.device, default="auto"
        Where to compute, as in :class:`CoherenceDistiller`.
    verbose : bool, default=False
        Whether to print the progress of the fit. The logger ``"skperco"`` gets the same messages
        at level INFO in any case.

    Attributes
    ----------
    method_ : str
        The method of the code.
    n_components_ : int
        Number of dimensions that are coded.
    distiller_ : CoherenceDistiller
        The fitted distiller. Its embeddings are rotated before they are coded.
    encoder_ : torch.nn.Module
        From rows to codes, on the CPU, in float32.
    validation_scores_ : dict
        Held-out score of each candidate (method, number of components, whether the distiller is
        trained, whether principal components are coded): mean of coherence and recall, weighted by
        `rank_power`, for exact and for coded queries. Empty if there was nothing to choose.
    n_bytes_ : int
        Number of bytes of a code.
    metric_, teacher_metric_ : str or callable
        The metrics of the fit, which :meth:`score` uses.
    n_features_in_ : int
        Number of features seen during `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if X had string names.

    See Also
    --------
    CoherenceDistiller : Embeddings of fewer dimensions in floating point.

    References
    ----------
    Jégou, Douze, Schmid, "Product quantization for nearest neighbor search", PAMI 2011.
    Ge, He, Ke, Sun, "Optimized product quantization", CVPR 2013: the division of dimensions.
    Guo et al., "Accelerating large-scale inference with anisotropic vector quantization", ICML
    2020: errors weighted by their effect on inner products.

    Examples
    --------
    >>> from skperco import CoherenceQuantizer
    >>> from skperco.datasets import load_wordnet_glosses
    >>> embeddings = load_wordnet_glosses().data
    >>> quantizer = CoherenceQuantizer(32, n_components=96, random_state=0)
    >>> codes = quantizer.fit(embeddings[:2000]).encode(embeddings[2000:])
    >>> codes.shape, codes.dtype
    ((3000, 32), dtype('uint8'))
    >>> quantizer.decode(codes).shape
    (3000, 96)
    >>> quantizer.score(embeddings[2000:]) > 0.8
    True
    """

    _distiller_class = CoherenceDistiller

    # `out` is not metadata, so pipelines do not route it.
    __metadata_request__transform: ClassVar[dict] = {"out": UNUSED}

    _parameter_constraints: dict = {
        "n_bytes": [Interval(numbers.Integral, 1, None, closed="left")],
        "method": [StrOptions({"auto", *METHODS})],
        "n_components": [Interval(numbers.Integral, 1, None, closed="left"), None],
        "metric": [str],
        "teacher_metric": [str, callable, None],
        "rank_power": [Interval(numbers.Real, 0, 1, closed="both")],
        "distiller": [CoherenceDistiller, None],
        "beam_width": [Interval(numbers.Integral, 1, None, closed="left")],
        "validation_fraction": [Interval(numbers.Real, 0, 1, closed="neither")],
        "max_samples": [Interval(numbers.Integral, 2, None, closed="left")],
        "random_state": ["random_state"],
        "device": [str, torch.device],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        n_bytes: int = 64,
        *,
        method: str = "auto",
        n_components: int | None = None,
        metric: str = "cosine",
        teacher_metric: Metric | None = None,
        rank_power: float = 0.5,
        distiller: CoherenceDistiller | None = None,
        beam_width: int = 8,
        validation_fraction: float = 0.1,
        max_samples: int = 16384,
        random_state: int | np.random.RandomState | None = None,
        device: str | torch.device = "auto",
        verbose: bool = False,
    ):
        self.n_bytes = n_bytes
        self.method = method
        self.n_components = n_components
        self.metric = metric
        self.teacher_metric = teacher_metric
        self.rank_power = rank_power
        self.distiller = distiller
        self.beam_width = beam_width
        self.validation_fraction = validation_fraction
        self.max_samples = max_samples
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    @default_settings()
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        teacher_embeddings: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Fit the distiller and the codes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples, n_teacher_features) or (n_samples,), default=None
            The teacher's embeddings, or labels, which are ignored, as in
            :meth:`CoherenceDistiller.fit`.
        teacher_embeddings : array-like of shape (n_samples, n_teacher_features), default=None
            The teacher's embeddings; `y` is ignored then.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples; zero leaves a sample out.

        Returns
        -------
        self : CoherenceQuantizer

        Raises
        ------
        ValueError
            If `n_bytes` or `n_components` is too large for the data or for the method; if codes
            do not support `metric`; and as in :meth:`CoherenceDistiller.fit`.
        """
        self._check_metric()
        samples = self._check_fit_input(X, y, teacher_embeddings, sample_weight)
        self._check_sizes(samples)
        device = device_of(X, self.device)
        progress = Progress(self, self._init_callback_context(max_subtasks=_MAX_FITS))
        progress.begin(samples, n_students=1)
        result = QuantizerFit(
            CodeOptions(*(getattr(self, name) for name in CodeOptions._fields)),
            samples,
            new_distiller=lambda *args: self._new_distiller(*args, device=device),
            may_train=self._may_train(samples),
            random_state=check_random_state(self.random_state),
            device=device,
            report=progress.report,
        ).run()
        self.distiller_ = result.distiller
        self.encoder_ = result.encoder
        self.method_, self.n_components_ = result.candidate[:2]
        self.validation_scores_ = {
            tuple(candidate): score for candidate, score in result.validation_scores.items()
        }
        self.n_bytes_ = self.n_bytes
        self.metric_, self.teacher_metric_ = self.metric, samples.teacher_metric
        progress.end({name: value for name, value in vars(self).items() if name.endswith("_")})
        return self

    def _check_metric(self) -> None:
        if self.metric not in _METRICS:
            raise ValueError(
                f"metric must be one of {list(_METRICS)}, which codes can serve, got "
                f"{self.metric!r}."
            )

    def _check_fit_input(
        self,
        X: ArrayLike,
        y: ArrayLike | None,
        teacher_embeddings: ArrayLike | None,
        sample_weight: ArrayLike | None,
    ) -> Samples:
        rows = check_rows(self, X, reset=True, ensure_min_samples=2)
        teacher = given_teacher(y, teacher_embeddings)
        return check_samples(rows, teacher, self._teacher_metric, sample_weight, min_samples=2)

    def _check_sizes(self, samples: Samples) -> None:
        """Raise a ValueError if there are too few dimensions for the bytes, or too many."""
        sizes = {"features of X": samples.X.shape[1]}
        if samples.teacher is not None:
            sizes["columns of teacher_embeddings"] = samples.teacher.shape[1]
        name, n_dimensions = min(sizes.items(), key=lambda item: item[1])
        if self.n_bytes > _SINGLE_BYTES * n_dimensions:
            raise ValueError(
                f"n_bytes must be at most {_SINGLE_BYTES * n_dimensions}, which the {n_dimensions} "
                f"{name} take in float32, got {self.n_bytes}."
            )
        n_components = self.n_components
        if n_components is not None and n_components > n_dimensions:
            raise ValueError(
                f"n_components must be at most {n_dimensions}, the number of {name}, got "
                f"{n_components}."
            )
        least, most = dimension_limits(self.method, self.n_bytes)
        found = n_dimensions if n_components is None else n_components
        if found < least or (n_components is not None and found > most):
            raise ValueError(
                f"method={self.method!r} codes {least} to {most} dimensions in n_bytes="
                f"{self.n_bytes}, got {found}: change n_bytes or n_components."
            )

    def _may_train(self, samples: Samples) -> tuple[bool, ...]:
        """Whether the distiller is trained: the values to try."""
        if self.distiller is not None:
            return (True,)
        return (False,) if samples.teacher is None else (False, True)

    def _new_distiller(
        self, n_components: int, trained: bool, *, device: torch.device
    ) -> CoherenceDistiller:
        distiller = CoherenceDistiller() if self.distiller is None else clone(self.distiller)
        distiller.set_output(transform="default")
        if not trained:
            distiller.set_params(max_iter=0)
        return distiller.set_params(
            n_components=n_components,
            metric=self.metric,
            teacher_metric=self.teacher_metric,
            rank_power=self.rank_power,
            device=device,
        )

    @default_settings()
    def encode(self, X: ArrayLike, *, out: NDArray | None = None) -> NDArray[np.uint8]:
        """Codes of X.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        out : ndarray of shape (n_samples, n_bytes), uint8, default=None
            Array to write the codes to, for instance a memory map; it is returned.

        Returns
        -------
        codes : ndarray of shape (n_samples, n_bytes), uint8

        Raises
        ------
        NotFittedError
            If the quantizer is not fitted.
        ValueError
            If X has another number of features than in :meth:`fit`, a value is not finite, or
            `out` is read-only or has another shape.
        TypeError
            If `out` is not an array of uint8.
        """
        return self._apply(CodeEncoder.forward, X, out)

    @default_settings()
    def decode(self, codes: ArrayLike, *, out: NDArray | None = None) -> NDArray[np.float32]:
        """Embeddings of codes.

        Parameters
        ----------
        codes : array-like of shape (n_samples, n_bytes), uint8
            As from :meth:`encode`.
        out : ndarray of shape (n_samples, `n_components_`), float32 or float64, default=None
            Array to write the embeddings to; it is returned.

        Returns
        -------
        embeddings : ndarray of shape (n_samples, `n_components_`), float32
            With ``metric="cosine"`` rows have unit norm.

        Raises
        ------
        NotFittedError
            If the quantizer is not fitted.
        ValueError
            If `codes` have another shape, or `out` is read-only or has another shape.
        TypeError
            If `codes` are not of uint8, or `out` is not an array of float32 or float64.
        """
        check_is_fitted(self, "encoder_")
        codes = check_codes(codes, self.n_bytes_)
        if out is not None:
            check_output(out, len(codes), self.n_components_)
        return apply_to_rows(
            self.encoder_.decode,
            codes,
            device=torch.device("cpu"),
            dtype=torch.uint8,
            size=_ROWS_PER_CHUNK,
            out=out,
        )

    @default_settings()
    def transform(self, X: ArrayLike, *, out: NDArray | None = None) -> Any:
        """Decoded embeddings of the codes of X: what the codes keep.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        out : ndarray of shape (n_samples, `n_components_`), float32 or float64, default=None
            Array to write the embeddings to; it is returned.

        Returns
        -------
        embeddings : ndarray of shape (n_samples, `n_components_`), float32
            Equal to ``decode(encode(X))``. For a Dask array or data frame the result is lazy.

        Raises
        ------
        NotFittedError, ValueError, TypeError
            As in :meth:`encode` and :meth:`decode`.
        """
        if is_lazy(X):
            check_is_fitted(self, "encoder_")
            if out is not None:
                raise TypeError(
                    "out must be None for a Dask array or data frame: store the lazy result with "
                    "Dask."
                )
            return embed_lazily(CoherenceQuantizer.transform, self, X, np.float32)
        return self.decode(self.encode(X), out=out)

    @default_settings()
    def transform_queries(self, X: ArrayLike, *, out: NDArray | None = None) -> NDArray:
        """Embeddings of X without quantization, in the space of decoded embeddings.

        Exact queries against coded documents keep more of the ranking than coded queries do.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        out : ndarray of shape (n_samples, `n_components_`), float32 or float64, default=None
            Array to write the embeddings to; it is returned.

        Returns
        -------
        embeddings : ndarray of shape (n_samples, `n_components_`), float32

        Raises
        ------
        NotFittedError, ValueError, TypeError
            As in :meth:`transform`.
        """
        return self._apply(CodeEncoder.embed, X, out)

    def _apply(self, function: Any, X: Any, out: NDArray | None) -> NDArray:
        """Results of a method of the encoder for all rows."""
        check_is_fitted(self, "encoder_")
        rows = check_rows(self, X, reset=False)
        if out is not None and function is CodeEncoder.forward:
            check_output(out, rows.shape[0], self.n_bytes_, ["uint8"])
        elif out is not None:
            check_output(out, rows.shape[0], self.n_components_)
        device = device_of(X, self.device)
        few = self.method_ == "residual" and function is CodeEncoder.forward
        return apply_to_rows(
            partial(function, copy.deepcopy(self.encoder_).to(device)),
            rows,
            device=device,
            dtype=torch.float32,
            size=_ROWS_PER_CHUNK_OF_BEAMS if few else _ROWS_PER_CHUNK,
            out=out,
        )

    @default_settings()
    def score(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        teacher_embeddings: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        queries: str = "exact",
    ) -> float:
        """Perception coherence of decoded embeddings with the teacher's.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples, n_teacher_features) or (n_samples,), default=None
            The teacher's embeddings, or labels, which are ignored, as in :meth:`fit`.
        teacher_embeddings : array-like of shape (n_samples, n_teacher_features), default=None
            The teacher's embeddings; `y` is ignored then. Without either, X is the teacher.
        sample_weight : array-like of shape (n_samples,), default=None
        queries : {"exact", "coded"}, default="exact"
            Whether anchors are embedded by :meth:`transform_queries` or by :meth:`transform`.

        Returns
        -------
        score : float
            As from :func:`perception_coherence_score`.

        Raises
        ------
        NotFittedError, ValueError
            As in :meth:`transform` and :func:`perception_coherence_score`; or if `queries` is
            neither "exact" nor "coded".
        """
        if queries not in ("exact", "coded"):
            raise ValueError(f"queries must be 'exact' or 'coded', got {queries!r}.")
        return perception_coherence_score(
            given_teacher(y, teacher_embeddings, default=X),
            CoherenceQuantizer.transform(self, X),
            metric=self.metric_,
            teacher_metric=self.teacher_metric_,
            student_queries=self.transform_queries(X) if queries == "exact" else None,
            sample_weight=sample_weight,
            device=device_of(X, self.device),
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        # The pickle of a fitted estimator may come from a machine with other devices.
        if hasattr(self, "encoder_"):
            self.device = device_here(self.device)

    @property
    def _teacher_metric(self) -> Metric:
        return self.metric if self.teacher_metric is None else self.teacher_metric

    @property
    def _n_features_out(self) -> int:
        return self.n_components_

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = is_sparse_metric(self._teacher_metric)
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
