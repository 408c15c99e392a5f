"""CoherenceDistiller: a transformer that keeps the ranking of dissimilarities."""

import numbers
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.utils import Tags, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted, validate_data

from skperco.closed_form._initialization import ALPHAS
from skperco.dissimilarity._dense import check_metric
from skperco.io._export import ExportMixin
from skperco.io._save_load import SaveLoadMixin
from skperco.metrics._scores import perception_coherence_score
from skperco.students._builtin import is_built_in, kind_of
from skperco.students._embed import embed
from skperco.training._check_samples import check_samples
from skperco.training._distributed import Processes
from skperco.training._progress import Progress
from skperco.training._reservoir import Stream
from skperco.training._samples import Samples
from skperco.training._two_stage import FitOptions, TwoStageFit
from skperco.utils._dask import LazyOutputMixin, embed_lazily, is_frame, is_lazy
from skperco.utils._devices import device_here, device_of
from skperco.utils._global_settings import default_settings
from skperco.utils._numbers import check_layer_sizes, check_positive
from skperco.utils._types import Metric
from skperco.utils._validation import (
    check_finite_blocks,
    check_magnitude,
    check_output,
    check_rows,
    float_types,
    given_teacher,
    is_sparse_metric,
)

# Largest number of students in a fit: two validation fits and the final one.
_MAX_STUDENTS = 3


class CoherenceDistiller(
    LazyOutputMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    CallbackSupportMixin,
    SaveLoadMixin,
    ExportMixin,
    BaseEstimator,
):
    r"""Learn a small embedding that keeps the ranking of a teacher's dissimilarities.

    The student, a linear map or a small MLP, is initialized in closed form (the top right singular
    vectors of the teacher's embeddings, or a ridge regression onto them) and trained so that each
    sample ranks the others by dissimilarity as the teacher does. A validation split decides how
    far to move from the initialization towards the trained student; the final student is then
    refit on all rows. The teacher is `teacher_embeddings`, or a `y` of floating-point numbers with
    two or more columns; any other `y` holds labels, which are ignored, and X is its own teacher.

    Parameters
    ----------
    n_components : int, default=None
        Number of dimensions of the student's embedding. If None, the smallest of 64, the number
        of features and the number of the teacher's dimensions; for a module of your own, the
        number that it returns.
    student : {"linear", "mlp"}, torch.nn.Module or callable, default="linear"
        For compression a linear map is as good as an MLP. The MLP is added to a linear map, and is
        meant for inputs of another kind than the teacher's. A module of your own is copied. It
        maps a batch of rows of X, which may have any number of dimensions, to a matrix with
        `n_components` columns; integers are passed on as integers. A callable is called with
        (n_features, n_components), where n_features is the size of the second dimension of X,
        and returns such a module. The initialization of a module is a regression onto the top
        singular vectors of the teacher's embeddings.
    metric : str or callable, default="cosine"
        Dissimilarity between the student's embeddings: "cosine", "euclidean", "sqeuclidean",
        "manhattan", "correlation", or a callable as in :func:`pairwise_dissimilarity`. It is
        called with tensors on the `device`: of single precision in training, where its result
        must have a gradient, and of double precision in the validation. With "cosine" the
        embeddings have unit norm, so that euclidean neighbors are the same.
    teacher_metric : str or callable, default=None
        Dissimilarity between the teacher's embeddings; `metric` if None. A callable may also
        return an array or a tensor on the CPU, which is moved to the `device`. With
        "precomputed" the teacher is an (n_samples, n_samples) dissimilarity matrix, whose row i
        contains the dissimilarities from sample i to all samples.
    rank_power : float, default=0.5
        Balance between the nearest neighbors (0) and the order of all samples (1).
    hidden_layer_sizes : tuple of int, default=(256,)
        Number of units in each hidden layer of the MLP.
    batch_size : int, default=2048
        Number of anchors drawn in a step. The local loss uses all of them, the global loss, whose
        cost is dominated by sorting, at most 256 (128 in the first third of the steps).
        The initialization of a module of your own uses batches of this size, but at most 256.
    n_references : int, default=512
        Number of references of the global loss drawn in a step, from the whole training subset.
    n_neighbors : int, default=100
        Number of nearest neighbors of each anchor, of which a step draws 10 as references of the
        local loss. At most a tenth of the rows is used.
    learning_rate_init : "auto" or float, default="auto"
        Length of the first steps relative to the norm of the parameters, with cosine decay to 0.
        "auto" is 0.1 for compression, and 0.03 with a teacher or a module of your own.
        The initialization of such a module uses Adam with a tenth of this rate.
    max_iter : int, default=150
        Number of steps. 0 keeps the closed form. No steps are taken where the closed form is
        exact: if X is its own teacher, there are as many components as features, and both metrics
        are "cosine", or each is "euclidean" or "sqeuclidean".
    alphas : array-like of float, default=(3.2, 1.6, 0.8, 0.4, 0.2, 0.1, 0.05, 0.01, 0.001)
        Strengths of the ridge regression onto a teacher, in units of the mean squared norm of the
        rows of X. The one with the best score on the held-out rows is chosen; without held-out
        rows, the one nearest to 0.4.
    dropout : float, default=0.15
        Probability that a feature is set to zero in training with a teacher. It does not apply to
        modules of your own.
    early_stopping : bool, default=True
        Whether to hold out rows in a validation fit, and to choose the interpolation between the
        closed form and the trained student by its scores on them, before the final fit to all
        rows. With fewer than 20 held-out rows the closed form is kept. If False, there is one fit
        without validation, and the student is the trained one.
    validation_fraction : float, default=0.1
        Fraction of the rows of the training subset to hold out, up to 1,000 rows.
    tol : float, default=5e-4
        Largest loss of coherence relative to the closed form, on the held-out rows, that is
        accepted in exchange for recall. It applies to a `rank_power` of at least 0.5.
    max_samples : int, default=16384
        Size of the training subset, drawn at random: anchors, references and neighbors are drawn
        from it. This bounds the memory and the time of training for any number of rows. The closed
        form is that of all rows, which are read in blocks.
    warm_start : bool, default=False
        Whether `fit` starts from the student of the last fit instead of the closed form.
    random_state : int, RandomState instance or None, default=None
        Determines the held-out rows, anchors and references. With an int, fits on the CPU are
        repeatable bit for bit.
    device : str or torch.device, default="auto"
        Where to compute: "cpu", "cuda", ..., or "auto": the device of X if X is a tensor, else a
        GPU if there is one, else the CPU. A device without double precision, such as Apple's MPS,
        is refused, and "auto" uses the CPU instead. If a fitted distiller is loaded or unpickled
        on a machine without its device, `device` becomes "auto".
    distributed : bool, default=False
        Whether all processes of torch.distributed's default group call `fit`, each with rows of
        its own, to fit one student together. `batch_size` and `n_references` are those of each
        process, and every anchor is compared with the references of all processes. The rows of
        the fit, closed form included, are then `max_samples` rows drawn from all processes.
        With one process, or without a group, it makes no difference. A missing group is an error
        if the environment variable WORLD_SIZE is above 1.
    verbose : bool, default=False
        Whether to print the progress of the fit. The logger ``"skperco"`` gets the same messages
        at level INFO in any case.

    Attributes
    ----------
    n_components_ : int
        Number of dimensions of the student's embedding.
    student_ : torch.nn.Module
        The fitted student, on the CPU, in float32.
    metric_ : str or callable
        The `metric` of the fit, which :meth:`transform` and :meth:`score` use.
    teacher_metric_ : str or callable
        The metric of the teacher's embeddings in the fit, which :meth:`score` uses.
    alpha_ : float or None
        Strength of the ridge regression; None if there was no regression.
    loss_curve_ : list of float
        Loss before each step.
    validation_scores_ : list of float or None
        Coherence of the held-out rows for students between the closed form (first) and the trained
        student (last) of the validation fit; None without training or held-out rows.
    validation_fractions_ : list of float or None
        Position of each entry of `validation_scores_` between the closed form (0) and the trained
        student (1).
    fraction_ : float
        Position of `student_` between the closed form (0) and the trained student (1) of the
        final fit.
    n_iter_ : int
        Number of students in the final fit: the closed form, and one after each step.
    n_samples_seen_ : int
        Number of rows of positive weight in the last fit, or in the stream of batches.
    n_features_in_ : int
        Number of features seen during `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if X had string names.

    See Also
    --------
    perception_coherence_score : The measure of what is kept.
    PerceptionCoherenceLoss : The loss for any training loop.

    Notes
    -----
    The loss is :math:`w \log L_\text{global} + \log L_\text{local}`. :math:`L_\text{global}` is
    the loss of :class:`PerceptionCoherenceLoss` with power 1, of soft ranks, over random
    references. :math:`L_\text{local}` is one minus the correlation of the student's
    dissimilarities with the logarithm of the teacher's ranks over references from the anchor's
    neighborhood: there, the differences of dissimilarities count, not only their order. The
    logarithms make the balance independent of the scales of the losses. With p the `rank_power`,
    :math:`w = 1.8\,(-\log L_0)^{1.4}\, p / (1 - p)`, where :math:`L_0` is the local loss of the
    initialization (2.5 times as much with a teacher or a module of your own): the more neighbors
    the initialization keeps, the larger is the weight of the global loss. These numbers were tuned
    on text.

    Under "cosine" and "correlation" a linear student whose input is its own teacher has a
    nonlinear correction. It maps a row x to :math:`y + \ell\,(s \odot y + |x|\,t)` with
    :math:`y = W x` and :math:`\ell = 1 - |y| / |x|`, the relative loss of norm in the projection,
    which the direction of y does not contain. The vectors s and t are learned, and initialized
    with zeros. An MLP that is added to such a linear map takes :math:`x / |x|`, and its output is
    multiplied by :math:`|x|`. Hence the direction of an embedding does not depend on the scale of
    its row.

    A module of your own that draws random numbers, for instance for dropout, draws them from
    PyTorch's global generators, which are seeded for it and restored afterwards. All threads share
    these generators, so fits of such modules run one after the other.

    The method is based on an idea of [1]_, in this project's own definitions. The user guide
    describes the fit.

    References
    ----------
    .. [1] Nguyen, Gamboa, Zhang, Chhaibi, Gratton, Giaccone, "Feature representation
       transferring to lightweight models via perception coherence", TMLR 2026.
       https://arxiv.org/abs/2505.06595

    Examples
    --------
    >>> from skperco import CoherenceDistiller
    >>> from skperco.datasets import load_wordnet_glosses
    >>> embeddings = load_wordnet_glosses().data
    >>> distiller = CoherenceDistiller(n_components=32, max_iter=50, random_state=0)
    >>> small = distiller.fit(embeddings[:2000]).transform(embeddings[2000:])
    >>> small.shape
    (3000, 32)
    >>> distiller.score(embeddings[2000:]) > 0.75
    True
    """

    # `out` is not metadata, so pipelines do not route it.
    __metadata_request__transform: ClassVar[dict] = {"out": UNUSED}

    _parameter_constraints: dict = {
        "n_components": [Interval(numbers.Integral, 1, None, closed="left"), None],
        "student": [StrOptions({"linear", "mlp"}), torch.nn.Module, callable],
        "metric": [str, callable],
        "teacher_metric": [str, callable, None],
        "rank_power": [Interval(numbers.Real, 0, 1, closed="both")],
        "hidden_layer_sizes": ["array-like"],
        "batch_size": [Interval(numbers.Integral, 1, None, closed="left")],
        "n_references": [Interval(numbers.Integral, 3, None, closed="left")],
        "n_neighbors": [Interval(numbers.Integral, 2, None, closed="left")],
        "learning_rate_init": [
            StrOptions({"auto"}),
            Interval(numbers.Real, 0, None, closed="neither"),
        ],
        "max_iter": [Interval(numbers.Integral, 0, None, closed="left")],
        "alphas": ["array-like"],
        "dropout": [Interval(numbers.Real, 0, 1, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(numbers.Real, 0, 1, closed="neither")],
        "tol": [Interval(numbers.Real, 0, None, closed="left")],
        "max_samples": [Interval(numbers.Integral, 2, None, closed="left")],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "device": [str, torch.device],
        "distributed": ["boolean"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        n_components: int | None = None,
        *,
        student: str | torch.nn.Module | Callable[[int, int], torch.nn.Module] = "linear",
        metric: Metric = "cosine",
        teacher_metric: Metric | None = None,
        rank_power: float = 0.5,
        hidden_layer_sizes: Sequence[int] = (256,),
        batch_size: int = 2048,
        n_references: int = 512,
        n_neighbors: int = 100,
        learning_rate_init: float | str = "auto",
        max_iter: int = 150,
        alphas: ArrayLike = ALPHAS,
        dropout: float = 0.15,
        early_stopping: bool = True,
        validation_fraction: float = 0.1,
        tol: float = 5e-4,
        max_samples: int = 16384,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        device: str | torch.device = "auto",
        distributed: bool = False,
        verbose: bool = False,
    ):
        self.n_components = n_components
        self.student = student
        self.metric = metric
        self.teacher_metric = teacher_metric
        self.rank_power = rank_power
        self.hidden_layer_sizes = hidden_layer_sizes
        self.batch_size = batch_size
        self.n_references = n_references
        self.n_neighbors = n_neighbors
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.alphas = alphas
        self.dropout = dropout
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.tol = tol
        self.max_samples = max_samples
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.distributed = distributed
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
        """Learn the student.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Input of the student; it may have more dimensions for a module of your own. Sparse
            input stays sparse.
        y : array-like of shape (n_samples, n_teacher_features) or (n_samples,), default=None
            The teacher's embeddings, if it is a matrix of floating-point numbers with at least
            two columns. Any other `y` (one-dimensional, one column, integers, booleans, strings)
            contains labels for a later step of a pipeline and is ignored; then X is its own
            teacher.
        teacher_embeddings : array-like of shape (n_samples, n_teacher_features), default=None
            The teacher's embeddings; `y` is ignored then.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples, equivalent to repetitions; zero leaves a sample out.

        Returns
        -------
        self : CoherenceDistiller

        Raises
        ------
        ValueError
            If the numbers of rows differ, a value is not finite, there are fewer than 2 rows of
            positive weight, or `n_components` is larger than the closed form allows.

        Warns
        -----
        ConvergenceWarning
            If the user interrupts the fit, which then keeps the best student so far.
        """
        start = self.student_ if self.warm_start and hasattr(self, "student_") else None
        samples = self._check_fit_input(
            X, y, teacher_embeddings, sample_weight, reset=start is None
        )
        processes = Processes(self.distributed)
        random_state = processes.broadcast_object(check_random_state(self.random_state))
        samples, n_samples = processes.gather_samples(samples, self.max_samples, random_state)
        device = device_of(X, self.device)
        self._run_fit(samples, device, start, random_state, processes)
        self.n_samples_seen_ = n_samples
        self._stream: Stream | None = None
        return self

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    @default_settings()
    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        teacher_embeddings: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Fit incrementally to one more batch of a stream that does not fit in memory.

        The distiller keeps a uniform random sample of up to `max_samples` rows of all batches
        (reservoir sampling), and is refitted to it whenever the stream has grown by a tenth.
        For a stream of at most `max_samples` rows the result is that of :meth:`fit`. After
        a `fit`, the fitted student is trained further.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y, teacher_embeddings, sample_weight : array-like
            As in :meth:`fit`.

        Returns
        -------
        self : CoherenceDistiller

        Raises
        ------
        ValueError
            As in :meth:`fit`; if a batch has other features or another kind of teacher than the
            batches before; if `n_components`, `student`, `hidden_layer_sizes`, `metric` or
            `teacher_metric` has changed since then; if `teacher_metric` is "precomputed"; or if
            `distributed` is True and there are several processes.
        """
        processes = Processes(self.distributed)
        if processes.size > 1:
            raise ValueError("partial_fit does not support distributed=True: use fit.")
        stream = getattr(self, "_stream", None)
        learned = hasattr(self, "student_")
        batch = self._check_fit_input(
            X,
            y,
            teacher_embeddings,
            sample_weight,
            reset=not learned,
            min_samples=2 if stream is None else 1,
        )
        if batch.teacher_metric == "precomputed":
            raise ValueError(
                "partial_fit does not support teacher_metric='precomputed': use fit with the "
                "dissimilarities between all samples."
            )
        if learned:
            self._check_warm_start(self.student_)
            self._check_same_metrics(batch.teacher_metric)
        batch = batch.take(batch.rows)
        if stream is None:
            stream = Stream.from_batch(
                batch, self.max_samples, self.random_state, self.student_ if learned else None
            )
        else:
            stream = stream.update(batch)
        if stream.should_refit:
            device = device_of(X, self.device)
            random_state = check_random_state(self.random_state)
            self._run_fit(stream.samples, device, stream.start, random_state, processes)
            stream = stream._replace(n_learned=stream.n_seen)
        self._stream = stream
        self.n_samples_seen_ = stream.n_seen
        return self

    def _run_fit(
        self,
        samples: Samples,
        device: torch.device,
        start: torch.nn.Module | None,
        random_state: np.random.RandomState,
        processes: Processes,
    ) -> None:
        """Fit the student and set all fitted attributes that depend on it."""
        options = FitOptions.from_estimator(self)
        if start is not None:
            options = options._replace(n_components=self._check_warm_start(start))
        progress = Progress(self, self._init_callback_context(max_subtasks=_MAX_STUDENTS))
        result = TwoStageFit(
            options,
            samples,
            device=device,
            random_state=random_state,
            processes=processes,
            progress=progress,
            start=start,
        ).run()
        self.student_ = result.student
        self.n_components_ = result.n_components
        self.metric_, self.teacher_metric_ = self.metric, samples.teacher_metric
        self.alpha_ = result.alpha
        self.loss_curve_ = result.losses
        self.n_iter_ = 1 + len(result.losses)
        self.fraction_ = result.fraction
        self.validation_scores_ = result.validation_scores
        self.validation_fractions_ = result.validation_fractions
        progress.end({"student_": self.student_})

    def _check_fit_input(
        self,
        X: ArrayLike,
        y: ArrayLike | None,
        teacher_embeddings: ArrayLike | None,
        sample_weight: ArrayLike | None,
        *,
        reset: bool,
        min_samples: int = 2,
    ) -> Samples:
        """Check the arguments of a fit and return at least `min_samples` samples."""
        teacher_metric = self._check_metrics()
        check_positive(self.alphas, "alphas")
        if isinstance(self.student, str) and self.student == "mlp":
            check_layer_sizes(self.hidden_layer_sizes)
        built_in = isinstance(self.student, str)
        rows = check_rows(
            self, X, integers=not built_in, reset=reset, ensure_min_samples=min_samples
        )
        teacher = given_teacher(y, teacher_embeddings)
        return check_samples(rows, teacher, teacher_metric, sample_weight, min_samples=min_samples)

    def _check_metrics(self) -> Metric:
        """Check both metrics, and return the teacher's."""
        check_metric(self.metric)
        teacher_metric = self._teacher_metric
        check_metric(teacher_metric, "teacher_metric")
        if self.metric == "precomputed":
            raise ValueError(
                "metric='precomputed' is not possible for a student, whose dissimilarities change "
                "in training: pass the teacher's dissimilarity matrix with "
                "teacher_metric='precomputed'."
            )
        return teacher_metric

    def _check_warm_start(self, start: torch.nn.Module) -> int:
        """The number of components of a student that is trained further.

        Raises a ValueError if the parameters describe another kind of student.
        """
        found = kind_of(start, self.n_components_)
        kind = self.student if isinstance(self.student, str) else "module"
        wanted: dict[str, Any] = {"n_components": self.n_components, "student": kind}
        if kind == "mlp":
            wanted["hidden_layer_sizes"] = tuple(self.hidden_layer_sizes)
        for name, value in wanted.items():
            if value not in (None, found[name]):
                raise ValueError(
                    f"{name} cannot change from {found[name]!r} to {value!r} when a student is "
                    "trained further: set warm_start=False and call fit for a new student."
                )
        return found["n_components"]

    def _check_same_metrics(self, teacher_metric: Metric) -> None:
        """Raise a ValueError if the metrics have changed since the first batch of a stream."""
        for name, value in {"metric": self.metric, "teacher_metric": teacher_metric}.items():
            fitted = getattr(self, f"{name}_")
            if value != fitted:
                raise ValueError(
                    f"{name} cannot change from {fitted!r} to {value!r} between batches: set "
                    "warm_start=False and call fit for a new student."
                )

    @default_settings()
    def transform(self, X: ArrayLike, *, out: NDArray | None = None) -> Any:
        """Embed X with the student.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        out : ndarray of shape (n_samples, `n_components_`), float32 or float64, default=None
            Array to write the embeddings to, for instance a memory map; it is returned.

        Returns
        -------
        embeddings : ndarray of shape (n_samples, `n_components_`)
            In the dtype of X, float32 or float64 (half precision becomes float32, all other
            types float64); a tensor on the device of X, if X is a tensor. With
            ``metric="cosine"`` rows have unit norm, except zero rows. For a Dask array or data
            frame the result is lazy, independent of `set_output`, and computed chunk by chunk.

        Raises
        ------
        NotFittedError
            If the distiller is not fitted.
        ValueError
            If X has another number of features than in :meth:`fit`, a value is not finite, or
            `out` is read-only or has another shape.
        TypeError
            If `out` is not an array of float32 or float64, or is given with Dask input.
        """
        check_is_fitted(self, "student_")
        if is_lazy(X):
            return self._transform_lazily(X, out)
        # Built-in students map non-finite rows to non-finite embeddings, so it is enough, and
        # cheaper, to check the output.
        built_in = is_built_in(self.student_)
        output_reveals_nan = built_in and not sp.issparse(X)
        rows = check_rows(
            self,
            X,
            integers=not built_in,
            reset=False,
            ensure_all_finite=not output_reveals_nan,
        )
        if out is not None:
            check_output(out, rows.shape[0], self.n_components_)
        embeddings = embed(
            self.student_,
            rows,
            device=device_of(X, self.device),
            unit_norm=self.metric_ == "cosine",
            out=out,
        )
        if output_reveals_nan and not np.isfinite(embeddings.sum(dtype=np.float64)):
            check_finite_blocks(rows, "X")
            check_magnitude(rows, "X")
        returns_arrays = _get_output_config("transform", self)["dense"] == "default"
        if out is None and isinstance(X, torch.Tensor) and returns_arrays:
            return torch.from_numpy(embeddings).to(X.device)
        return embeddings

    def _transform_lazily(self, X: Any, out: NDArray | None) -> Any:
        if out is not None:
            raise TypeError(
                "out must be None for a Dask array or data frame: store the lazy result with Dask."
            )
        validate_data(self, X._meta if is_frame(X) else X, reset=False, skip_check_array=True)
        return embed_lazily(CoherenceDistiller.transform, self, X, float_types(X)[0])

    @default_settings()
    def score(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        teacher_embeddings: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Perception coherence of the student's embeddings with the teacher's.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples, n_teacher_features) or (n_samples,), default=None
            The teacher's embeddings, or labels, which are ignored, as in :meth:`fit`.
        teacher_embeddings : array-like of shape (n_samples, n_teacher_features), default=None
            The teacher's embeddings; `y` is ignored then. Without either, X is the teacher.
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        score : float
            As from :func:`perception_coherence_score`; computed on a sample, which is always the
            same, if there are many rows.

        Raises
        ------
        NotFittedError
            If the distiller is not fitted.
        ValueError
            As in :meth:`transform` and :func:`perception_coherence_score`.
        """
        return perception_coherence_score(
            given_teacher(y, teacher_embeddings, default=X),
            self.transform(X),
            metric=self.metric_,
            teacher_metric=self.teacher_metric_,
            sample_weight=sample_weight,
            device=device_of(X, self.device),
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        # The pickle of a fitted estimator may come from a machine with other devices. For an
        # estimator that is not fitted, `fit` raises the error.
        if hasattr(self, "student_"):
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
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
