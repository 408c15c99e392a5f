"""CoherenceDistiller: a transformer that keeps the ranking of dissimilarities."""

import numbers
import warnings
from typing import ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from numpy.random import RandomState
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted, validate_data

from skperco.closed_form._initialization import compression_is_exact
from skperco.dissimilarity._dense import check_metric
from skperco.io._export import ExportMixin
from skperco.io._save_load import SaveLoadMixin
from skperco.metrics._scores import perception_coherence_score
from skperco.students._builtin import is_built_in, kind_of
from skperco.students._custom import check_module, new_module
from skperco.students._embed import embed
from skperco.training._distributed import Processes
from skperco.training._early_stopping import FRACTIONS, EarlyStoppingResult, decide
from skperco.training._optimizer import Settings
from skperco.training._progress import Progress
from skperco.training._reservoir import Stream
from skperco.training._samples import check_samples
from skperco.training._student_fit import Fit, Plan
from skperco.training._teacher import Pool
from skperco.utils._arrays import as_array
from skperco.utils._chunking import is_mapped
from skperco.utils._dask import LazyOutputMixin, embed_lazily, is_frame, is_lazy
from skperco.utils._global_settings import default_settings
from skperco.utils._validation import (
    canonical,
    check_finite_blocks,
    check_layer_sizes,
    check_magnitude,
    check_output,
    device_here,
    device_of,
    float_types,
    given_teacher,
    is_sparse_metric,
    naming,
    numeric_types,
)

_DEFAULT_COMPONENTS = 64
_MOST_HELD_OUT = 1000
# With fewer rows the validation scores are too noisy to compare students.
_LEAST_HELD_OUT = 20
# Largest number of students in a fit: two validation fits and the final one.
_MOST_STUDENTS = 3


class CoherenceDistiller(
    LazyOutputMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    CallbackSupportMixin,
    SaveLoadMixin,
    ExportMixin,
    BaseEstimator,
):
    r"""Learn a small embedding that keeps the order of a teacher's dissimilarities.

    The student, a linear map or a small MLP, starts as a closed form (the leading singular
    directions of the teacher's space, or ridge regression onto it) and is refined so that,
    seen from every sample, the others come in the order in which the teacher puts them. Rows
    that the fit has not seen decide how far it leaves the closed form. The teacher is
    `teacher_embeddings`, or a `y` of floating-point numbers with two or more columns; any other
    `y` holds labels, which are ignored, and X is its own teacher.

    Parameters
    ----------
    n_components : int, default=None
        Number of dimensions of the student's embedding. If None, the smallest of 64, the number
        of features and the number of the teacher's dimensions; for a module of your own, the
        number that it returns.
    student : {"linear", "mlp"}, torch.nn.Module or callable, default="linear"
        A linear map serves compression as well as an MLP does; the MLP, a correction to the
        linear map, is for inputs of another kind than the teacher's. A module of your own is
        copied, and takes a batch of rows of X to a matrix of `n_components` columns; rows may
        have any number of dimensions, and integers stay integers. A callable makes one: it is
        called with (n_features, n_components), where n_features is the length of the second
        dimension of X. In place of a closed form such a student starts from a regression onto
        the leading directions of the teacher.
    metric : str or callable, default="cosine"
        Dissimilarity between the student's embeddings: "cosine", "euclidean", "sqeuclidean",
        "manhattan", "correlation", or a callable as in :func:`pairwise_dissimilarity`, which is
        called with tensors on the `device`: of single precision in the steps, where its result
        must have a gradient, and of double precision for the validation. With "cosine" the
        embeddings have unit norm, so that euclidean neighbors are the same.
    teacher_metric : str or callable, default=None
        Dissimilarity between the teacher's embeddings; `metric` if None. A callable may also
        return an array or a tensor on the CPU, which is moved to the `device`. With
        "precomputed" the teacher is given as its (n_samples, n_samples) table of
        dissimilarities, whose row i holds what sample i sees.
    rank_power : float, default=0.5
        What to keep where not all can be kept, from 0 (who is among the nearest) to 1 (the
        order of all).
    hidden_layer_sizes : tuple of int, default=(256,)
        Units of each hidden layer of the MLP.
    batch_size : int, default=2048
        Number of anchors drawn for a step.
    n_references : int, default=512
        Number of references drawn for a step, from all over the data.
    n_neighbors : int, default=100
        Length of each anchor's list of nearest samples, from which a step draws its near
        references. At most a tenth of the rows is used.
    learning_rate_init : float, default=0.1
        Size of the first steps, relative to the size of the parameters; it decays to 0.
    max_iter : int, default=150
        Number of steps. 0 keeps the closed form. No steps are taken where the closed form is
        exact: if X is its own teacher, both metrics are "cosine" or both euclidean, and there are
        as many components as features.
    early_stopping : bool, default=True
        Whether to hold out rows in a validation fit, which choose the interpolation between the
        closed form and the trained student; then all rows are fitted. With fewer than 20 held-out
        rows the closed form is kept. If False, there is one fit without validation, and the
        student is the trained one.
    validation_fraction : float, default=0.1
        Share of the rows in the training subset to hold out, up to 1,000 rows.
    max_samples : int, default=16384
        Size of the training subset, drawn at random: anchors, references and neighbors are drawn
        from it. The closed form is that of all rows, which are read in blocks. This bounds the
        memory and the time of a fit for any number of rows.
    warm_start : bool, default=False
        Whether `fit` starts from the student of the last fit in place of the closed form.
    random_state : int, RandomState instance or None, default=None
        Draws held-out rows, anchors and references. With an int, fits on the CPU are the same
        bit for bit.
    device : str or torch.device, default="auto"
        Where to compute: "cpu", "cuda", ..., or "auto" for the device of X, if X is a tensor, or
        else for a GPU, if there is one. A device without double precision, such as Apple's MPS,
        is refused, and "auto" takes the CPU in its place. A fitted distiller that is loaded or
        unpickled where its device is missing has "auto".
    distributed : bool, default=False
        Whether all processes of torch.distributed's default group call `fit`, each with rows of
        its own, and fit one student together: `batch_size` and `n_references` are those of each
        process, and every anchor sees the references of all. All rows that count, closed form
        included, are then `max_samples` drawn from all processes. With no group, or of one
        process, it makes no difference.
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
    loss_curve_ : list of float
        Loss before each step.
    validation_scores_ : list of float or None
        Coherence of held-out rows, from the closed form (first) to the refined student (last)
        of a fit without them; None if there was no refinement or no row was held out.
    validation_fractions_ : list of float or None
        How far each entry of `validation_scores_` is on that way: 0 is the closed form, 1 the
        refined student.
    fraction_ : float
        How far the student goes on that way, in a second fit to all rows.
    n_iter_ : int
        Number of students gone through: the closed form, and one for every step.
    n_samples_seen_ : int
        Number of rows of positive weight in the last fit, or in the stream of batches.
    n_features_in_ : int
        Number of features seen during `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if X had string names.

    See Also
    --------
    perception_coherence_score : What the fit is for.
    PerceptionCoherenceLoss : The loss for any training loop.

    Notes
    -----
    The loss is :math:`w \log L_\text{far} + \log L_\text{near}`. :math:`L_\text{far}` is the
    loss of :class:`PerceptionCoherenceLoss` with power 1, of soft ranks, over random references.
    :math:`L_\text{near}` is one minus the correlation of the student's dissimilarities with
    the logarithm of the teacher's ranks over references from the anchor's neighborhood. The
    logarithms make the balance independent of the losses' scales. With p the `rank_power`,
    :math:`w = 1.8\,(-\log L_0)^{1.4}\, p / (1 - p)`, where :math:`L_0` is the near loss of the
    closed form (2.5 times as much for a transfer): the better the start keeps neighbors, the
    more the far loss weighs. The numbers were measured on text.

    Under a metric of angles, a linear student that compresses its own teacher is not quite
    linear. What it makes of a row x is :math:`y + \ell\,(s \odot y + |x|\,t)` with
    :math:`y = W x` and :math:`\ell = 1 - |y| / |x|`, the share of the norm that W loses, which
    the direction of y does not show. The vectors s and t are learned, and zero at the start.
    An MLP that is added to such a linear part takes :math:`x / |x|`, and its output is
    multiplied by :math:`|x|`.
    Hence the direction of an embedding does not depend on the scale of its row.

    A module of your own that draws random numbers, for instance for dropout, draws them from
    PyTorch's global generators, which are seeded for it and restored afterwards. All threads share
    these, so fits of such modules wait for each other.

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

    # Where to write is not for pipelines to pass on.
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
        "learning_rate_init": [Interval(numbers.Real, 0, None, closed="neither")],
        "max_iter": [Interval(numbers.Integral, 0, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(numbers.Real, 0, 1, closed="neither")],
        "max_samples": [Interval(numbers.Integral, 2, None, closed="left")],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "device": [str, torch.device],
        "distributed": ["boolean"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        n_components=None,
        *,
        student="linear",
        metric="cosine",
        teacher_metric=None,
        rank_power=0.5,
        hidden_layer_sizes=(256,),
        batch_size=2048,
        n_references=512,
        n_neighbors=100,
        learning_rate_init=0.1,
        max_iter=150,
        early_stopping=True,
        validation_fraction=0.1,
        max_samples=16384,
        warm_start=False,
        random_state=None,
        device="auto",
        distributed=False,
        verbose=False,
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
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.max_samples = max_samples
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.distributed = distributed
        self.verbose = verbose

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    @default_settings()
    def fit(self, X, y=None, *, teacher_embeddings=None, sample_weight=None):
        """Learn the student.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            What the student sees; for a module of your own, with more dimensions if it takes
            them. Sparse input is used as it is, and never made dense.
        y : array-like of shape (n_samples, n_teacher_features) or (n_samples,), default=None
            The teacher's embeddings, if it is a matrix of floating-point numbers with at least
            two columns. Any other `y` (one-dimensional, one column, integers, booleans, strings)
            holds labels for a later step of a pipeline and is ignored; X is its own teacher then.
        teacher_embeddings : array-like of shape (n_samples, n_teacher_features), default=None
            The teacher's embeddings by name; `y` is ignored then.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights that stand for the distribution of the samples; zero leaves a sample out.

        Returns
        -------
        self : CoherenceDistiller

        Raises
        ------
        ValueError
            If the rows do not match, a value is not finite, there are fewer than 2 rows of
            positive weight, or there are more components than a closed form can give.
        """
        start = self.student_ if self.warm_start and hasattr(self, "student_") else None
        samples = self._check_fit_input(
            X, y, teacher_embeddings, sample_weight, reset=start is None
        )
        processes = Processes(self.distributed)
        random_state = processes.broadcast_object(check_random_state(self.random_state))
        samples, n_samples = processes.gather_samples(samples, self.max_samples, random_state)
        device = device_of(X, self.device)
        self._learn(samples, device, start, random_state, processes)
        self.n_samples_seen_ = n_samples
        self._stream = None
        return self

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    @default_settings()
    def partial_fit(self, X, y=None, *, teacher_embeddings=None, sample_weight=None):
        """Learn from one more batch of a stream that does not fit in memory.

        The distiller keeps a uniform random sample of up to `max_samples` rows of all batches
        (reservoir sampling), and is fitted to them again whenever the stream has grown by a tenth.
        For a stream of no more than `max_samples` rows the result is that of :meth:`fit`. After
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
            As :meth:`fit` does, or if a batch has other features or another kind of teacher
            than those before, or if `n_components`, `student`, `hidden_layer_sizes`, `metric` or
            `teacher_metric` has changed since then.
        """
        processes = Processes(self.distributed)
        if processes.size > 1:
            raise ValueError("distributed=True is for fit: a stream belongs to one process.")
        stream = getattr(self, "_stream", None)
        learned = hasattr(self, "student_")
        batch = self._check_fit_input(
            X,
            y,
            teacher_embeddings,
            sample_weight,
            reset=not learned,
            least=2 if stream is None else 1,
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
            self._learn(stream.samples, device, stream.start, random_state, processes)
            stream = stream._replace(n_learned=stream.n_seen)
        self._stream = stream
        self.n_samples_seen_ = stream.n_seen
        return self

    def _learn(self, samples, device, start, random_state, processes):
        """Fit the student to the samples, from its closed form or from another student."""
        # Drawn first, so that the initialization of a module does not depend on the rows.
        module_seed = None if isinstance(self.student, str) else random_state.randint(2**31)
        samples = samples.with_targets(random_state, device)
        numbers = random_state.permutation(samples.rows)[: self.max_samples]
        pool = Pool(samples.take(numbers), device)
        n_held_out = self._count_held_out(pool.n_rows)
        fitted = samples.without(numbers[:n_held_out])
        context = self._init_callback_context(max_subtasks=_MOST_STUDENTS)
        progress = Progress(self, context, samples, 1 + (n_held_out > 0))
        plan = self._plan(fitted, start, device, progress.watch, processes, module_seed)
        trial_seed, seed = random_state.randint(2**31, size=2)
        decision = self._decide(fitted, *pool.split(n_held_out), plan, trial_seed)
        self._report(decision, progress)
        student = self._last_student(samples, pool, decision, seed)
        processes.broadcast_module(student)
        self.student_ = student.cpu()
        self.n_components_ = plan.n_components
        self.metric_, self.teacher_metric_ = self.metric, samples.teacher_metric
        progress.end({"student_": self.student_})

    def _last_student(self, samples, pool, decision, seed):
        """The student of all samples; that of the validation fit after an interruption."""
        self.loss_curve_, self.n_iter_ = [], 1
        if decision.interrupted:
            return _best_so_far(decision.student)
        try:
            fit = Fit(
                samples,
                pool,
                decision.plan,
                RandomState(seed),
                alpha=decision.alpha,
                trial=decision.fit,
            )
        except KeyboardInterrupt:
            return _best_so_far(decision.student)
        if self.fraction_ > 0:
            fit.refine()
        self.loss_curve_, self.n_iter_ = fit.losses, 1 + len(fit.losses)
        if fit.interrupted:
            return _best_so_far(fit.student if decision.student is None else decision.student)
        fit.blend(self.fraction_)
        return fit.student

    def _check_fit_input(self, X, y, teacher_embeddings, sample_weight, *, reset, least=2):
        """Check the arguments of a fit and return at least `least` samples."""
        teacher_metric = self._check_metrics()
        if isinstance(self.student, str) and self.student == "mlp":
            check_layer_sizes(self.hidden_layer_sizes)
        built_in = isinstance(self.student, str)
        X = self._check_rows(X, built_in, reset=reset, ensure_min_samples=least)
        teacher = given_teacher(y, teacher_embeddings)
        return check_samples(X, teacher, teacher_metric, sample_weight, least=least)

    def _check_metrics(self):
        """The teacher's metric."""
        check_metric(self.metric)
        teacher_metric = self._teacher_metric
        check_metric(teacher_metric, "teacher_metric")
        if self.metric == "precomputed":
            raise ValueError(
                "metric='precomputed' does not fit a student, whose dissimilarities change: "
                "give the teacher's table with teacher_metric='precomputed'."
            )
        return teacher_metric

    def _check_rows(self, X, built_in, **options):
        """X as an array of single or double precision, or in CSR; for a module, also others."""
        X = as_array(X, "X")
        options |= {"accept_sparse": "csr", "dtype": float_types(X)}
        if not built_in:
            options |= {"allow_nd": True, "dtype": numeric_types(X)}
        # All of a file at once would fill the memory.
        mapped = options.get("ensure_all_finite", True) and is_mapped(X)
        if mapped:
            options |= {"ensure_all_finite": False}
        else:
            # The rounding of a matrix product depends on the layout of its factors.
            options |= {"order": "C"}
        with naming("X"):
            X = validate_data(self, X, **options)
        if mapped and X.dtype.kind == "f":
            check_finite_blocks(X, "X")
        return canonical(X) if sp.issparse(X) else X

    def _count_held_out(self, n_rows):
        n_held_out = min(int(self.validation_fraction * n_rows), _MOST_HELD_OUT)
        return n_held_out if self.early_stopping and n_held_out >= _LEAST_HELD_OUT else 0

    def _plan(self, fitted, start, device, watch, processes, module_seed):
        student = self.student
        if start is not None:
            n_components = self._check_warm_start(start)
        elif isinstance(student, str):
            n_components = self._count_components(fitted)
        else:
            student, n_components = self._new_module(fitted, device, module_seed)
        starts_exact = (
            start is None
            and isinstance(student, str)
            and fitted.teacher is None
            and compression_is_exact(fitted.X, n_components, self.metric, fitted.teacher_metric)
        )
        settings = Settings(
            metric=self.metric,
            rank_power=self.rank_power,
            batch_size=self.batch_size,
            n_references=self.n_references,
            n_neighbors=self.n_neighbors,
            learning_rate_init=self.learning_rate_init,
            max_iter=0 if starts_exact else self.max_iter,
        )
        return Plan(
            n_components=n_components,
            student=student,
            hidden_layer_sizes=self.hidden_layer_sizes,
            settings=settings,
            device=device,
            watch=watch,
            processes=processes,
            start=start,
        )

    def _decide(self, fitted, pool, held_out, plan, seed):
        """The result of early stopping, whose scores become fitted attributes."""
        decision = EarlyStoppingResult(plan)
        refines = plan.settings.max_iter > 0
        if held_out.n_rows and (refines or fitted.teacher is not None):
            decision = decide(fitted, pool, held_out, plan, seed)
        self.fraction_ = decision.fraction if self.early_stopping or not refines else 1.0
        self.validation_scores_ = self.validation_fractions_ = None
        if decision.judgments:
            self.validation_fractions_ = list(FRACTIONS)
            self.validation_scores_ = [judged.coherence for judged in decision.judgments]
        return decision

    def _count_components(self, fitted):
        n_features = fitted.X.shape[1]
        limits = {f"{n_features} features": n_features}
        if fitted.targets is not None:
            n_targets = fitted.targets.shape[1]
            limits[f"{n_targets} dimensions of the teacher"] = n_targets
        most = min(limits.values())
        if self.n_components is None:
            return min(_DEFAULT_COMPONENTS, most)
        if self.n_components > most:
            raise ValueError(
                f"n_components={self.n_components} is more than the closed form can give from "
                f"{' and '.join(limits)}: choose at most {most}, or None."
            )
        return self.n_components

    def _new_module(self, fitted, device, seed):
        """A module of the user's own, checked, and its number of components."""
        wanted = _DEFAULT_COMPONENTS if self.n_components is None else self.n_components
        module = new_module(self.student, fitted.X.shape[1], wanted, int(seed), device)
        return module, check_module(module, fitted.X, self.n_components, device)

    def _check_warm_start(self, start):
        """The number of components of a student to train further, if it is of the same kind."""
        found = kind_of(start, self.n_components_)
        kind = self.student if isinstance(self.student, str) else "module"
        wanted = {"n_components": self.n_components, "student": kind}
        if kind == "mlp":
            wanted["hidden_layer_sizes"] = tuple(self.hidden_layer_sizes)
        for name, value in wanted.items():
            if value not in (None, found[name]):
                raise ValueError(
                    f"{name} cannot change from {found[name]!r} to {value!r} when a student is "
                    "trained further: fit a new one, with fit and warm_start=False."
                )
        return found["n_components"]

    def _check_same_metrics(self, teacher_metric):
        """Raise a ValueError unless a stream continues with the metrics that it began with."""
        for name, value in {"metric": self.metric, "teacher_metric": teacher_metric}.items():
            fitted = getattr(self, f"{name}_")
            if value != fitted:
                raise ValueError(
                    f"{name} cannot change from {fitted!r} to {value!r} between batches: fit a new "
                    "student, with fit and warm_start=False."
                )

    def _report(self, decision, progress):
        if decision.judgments:
            first, last = decision.judgments[0], decision.judgments[decision.chosen]
            progress.say(
                "held-out rows: coherence {:.4f} -> {:.4f}, recall {:.4f} -> {:.4f}",
                first.coherence,
                last.coherence,
                first.recall,
                last.recall,
            )

    @default_settings()
    def transform(self, X, *, out=None):
        """Embed X as the student does.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        out : ndarray of shape (n_samples, `n_components_`), float32 or float64, default=None
            Where to write the embeddings, which are returned: a memmap, for those that do not
            fit in memory.

        Returns
        -------
        embeddings : ndarray of shape (n_samples, `n_components_`)
            In the dtype of X, float32 or float64 (half precision becomes float32, all else
            float64); a tensor, on the device of X, if X is one. With ``metric="cosine"`` rows
            have unit norm, except zero ones. Of a Dask array or frame a lazy one, whose workers
            embed it chunk by chunk, whatever `set_output` says.
        """
        check_is_fitted(self, "student_")
        if is_lazy(X):
            return self._transform_lazily(X, out)
        # Built-in students map rows that are not finite to embeddings that are not, so it is
        # enough, and cheaper, to check the output.
        built_in = is_built_in(self.student_)
        output_reveals_nan = built_in and not sp.issparse(X)
        rows = self._check_rows(X, built_in, reset=False, ensure_all_finite=not output_reveals_nan)
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
        if out is None and isinstance(X, torch.Tensor) and _returns_arrays(self):
            return torch.from_numpy(embeddings).to(X.device)
        return embeddings

    def _transform_lazily(self, X, out):
        if out is not None:
            raise TypeError("out is for rows in memory: embeddings of Dask's are stored by Dask.")
        validate_data(self, X._meta if is_frame(X) else X, reset=False, skip_check_array=True)
        return embed_lazily(CoherenceDistiller.transform, self, X, float_types(X)[0])

    @default_settings()
    def score(self, X, y=None, *, teacher_embeddings=None, sample_weight=None):
        """Perception coherence of the student's embedding of X with the teacher's.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples, n_teacher_features) or (n_samples,), default=None
            The teacher's embeddings, or labels, which are ignored, as in :meth:`fit`.
        teacher_embeddings : array-like of shape (n_samples, n_teacher_features), default=None
            The teacher's embeddings by name, which win over `y`. Without either, X itself.
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        score : float
            As :func:`perception_coherence_score` gives it; sampled, and repeatable, where
            there are many rows.
        """
        return perception_coherence_score(
            given_teacher(y, teacher_embeddings, default=X),
            self.transform(X),
            metric=self.metric_,
            teacher_metric=self.teacher_metric_,
            sample_weight=sample_weight,
            device=device_of(X, self.device),
        )

    def __setstate__(self, state):
        super().__setstate__(state)
        # A pickle of a fit may come from a machine with other devices; an estimator that is not
        # fitted yet is left as it is, so that `fit` raises the error.
        if hasattr(self, "student_"):
            self.device = device_here(self.device)

    @property
    def _teacher_metric(self):
        return self.metric if self.teacher_metric is None else self.teacher_metric

    @property
    def _n_features_out(self):
        return self.n_components_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = is_sparse_metric(self._teacher_metric)
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _returns_arrays(distiller):
    """Whether `transform` returns arrays, not data frames."""
    return _get_output_config("transform", distiller)["dense"] == "default"


def _best_so_far(student):
    """The student to keep when the user interrupts the fit, if there is one."""
    if student is None:
        raise KeyboardInterrupt
    warnings.warn(
        "The fit was interrupted, and keeps the best student so far.",
        ConvergenceWarning,
        stacklevel=2,
    )
    return student
