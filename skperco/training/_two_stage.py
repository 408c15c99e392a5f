"""The fit in two stages: a validation fit without held-out rows, then the fit to all rows."""

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from numpy.random import RandomState
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning

from skperco.closed_form._initialization import compression_is_exact
from skperco.closed_form._landmark_mds import teacher_coordinates
from skperco.students._custom import check_module, contiguous, new_module
from skperco.training._distributed import Processes
from skperco.training._early_stopping import FRACTIONS, EarlyStoppingResult, select_fraction
from skperco.training._holdout import count_held_out
from skperco.training._plan import Plan
from skperco.training._progress import Progress
from skperco.training._samples import Samples
from skperco.training._settings import Settings
from skperco.training._student_fit import StudentFit
from skperco.training._subset import TrainingSubset
from skperco.utils._types import Metric

_DEFAULT_COMPONENTS = 64
# Learning rates of learning_rate_init="auto". The smaller one regularizes transfers.
_LEARNING_RATE = 0.1
_TRANSFER_LEARNING_RATE = 0.03


class FitOptions(NamedTuple):
    """Parameters of the estimator on which its fit depends."""

    n_components: int | None
    student: str | torch.nn.Module | Callable
    metric: Metric
    rank_power: float
    hidden_layer_sizes: Sequence[int]
    batch_size: int
    n_references: int
    n_neighbors: int
    learning_rate_init: float | str
    max_iter: int
    alphas: Sequence[float]
    dropout: float
    early_stopping: bool
    validation_fraction: float
    tol: float
    max_samples: int

    @classmethod
    def from_estimator(cls, estimator: BaseEstimator) -> "FitOptions":
        """The parameters of an estimator."""
        return cls(*(getattr(estimator, name) for name in cls._fields))


class FitResult(NamedTuple):
    """A fitted student, and the values of the estimator's fitted attributes.

    Attributes
    ----------
    student : torch.nn.Module
        On the CPU.
    n_components : int
    alpha : float or None
        Ridge strength; None if there was no ridge regression.
    losses : list of float
        Loss before each step of the final fit.
    fraction : float
        Interpolation between the initialization (0) and the trained student (1).
    validation_scores, validation_fractions : list of float or None
        Coherence of the held-out rows at several fractions.
    """

    student: torch.nn.Module
    n_components: int
    alpha: float | None
    losses: list[float]
    fraction: float
    validation_scores: list[float] | None
    validation_fractions: list[float] | None


class TwoStageFit:
    """A validation fit to choose the interpolation, and the fit to all rows.

    Parameters
    ----------
    options : FitOptions
    samples : Samples
    device : torch.device
    random_state : RandomState
    processes : Processes
        Those that fit the student together.
    progress : Progress
    start : torch.nn.Module, default=None
        A student whose copy is the initialization, in place of the closed form.

    Attributes
    ----------
    samples : Samples
        With the targets of a regression onto the teacher, if there is one.
    subset : TrainingSubset
        Rows from which the final fit draws.
    fitted : Samples
        Rows of the validation fit.
    plan : Plan
    validation : EarlyStoppingResult
    """

    def __init__(
        self,
        options: FitOptions,
        samples: Samples,
        *,
        device: torch.device,
        random_state: RandomState,
        processes: Processes,
        progress: Progress,
        start: torch.nn.Module | None = None,
    ):
        self.options = options
        self.samples = samples
        self.device = device
        self.random_state = random_state
        self.processes = processes
        self.progress = progress
        self.start = start

    def run(self) -> FitResult:
        """Run both stages."""
        self.prepare()
        self.validate()
        return self.fit_all()

    def prepare(self) -> None:
        """Draw the training subset and the held-out rows, and resolve the parameters."""
        # Drawn first, so that the initialization of a module does not depend on the rows.
        has_closed_form = isinstance(self.options.student, str)
        module_seed = 0 if has_closed_form else int(self.random_state.randint(2**31))
        self.samples = _with_targets(self.samples, self.random_state, self.device)
        drawn = self.random_state.permutation(self.samples.rows)[: self.options.max_samples]
        self.subset = TrainingSubset(self.samples.take(drawn), self.device)
        self.n_held_out = self._count_held_out(self.subset.n_rows)
        self.fitted = self.samples.without(drawn[: self.n_held_out])
        self.progress.begin(self.samples, n_students=1 + (self.n_held_out > 0))
        self.plan = self._plan(module_seed)
        self.seeds = self.random_state.randint(2**31, size=2)

    def validate(self) -> None:
        """Fit without the held-out rows; choose the interpolation and plan by scores on them."""
        trains = self.plan.settings.max_iter > 0
        self.validation = EarlyStoppingResult(self.plan)
        if self.n_held_out and (trains or self.fitted.teacher is not None):
            # Local variables, so that their memory is freed before the final fit.
            subset, held_out = self.subset.split(self.n_held_out)

            def new_fit(plan: Plan) -> StudentFit:
                return StudentFit(self.fitted, subset, plan, RandomState(self.seeds[0]))

            self.validation = select_fraction(new_fit, held_out, self.plan, self.options.tol)
        elif trains and not self.options.early_stopping:
            self.validation = self.validation._replace(fraction=1.0)
        self._report()

    def fit_all(self) -> FitResult:
        """Fit the student to all rows."""
        validation = self.validation
        plan = validation.plan.with_alpha(validation.alpha)
        fit = StudentFit(self.samples, self.subset, plan, RandomState(self.seeds[1]))
        student = self._train_on_all(fit)
        self.processes.broadcast_module(student)
        coherences = [one.coherence for one in validation.scores]
        return FitResult(
            student=contiguous(student.cpu()),
            n_components=plan.n_components,
            alpha=validation.alpha if fit.alpha is None else fit.alpha,
            losses=fit.losses,
            fraction=validation.fraction,
            validation_scores=coherences or None,
            validation_fractions=list(FRACTIONS) if coherences else None,
        )

    def _train_on_all(self, fit: StudentFit) -> torch.nn.Module:
        """The student of all rows, or the best one before the user interrupted."""
        validation = self.validation
        if validation.interrupted:
            return _best_so_far(validation.student)
        try:
            fit.initialize()
        except KeyboardInterrupt:
            return _best_so_far(validation.student)
        if validation.fraction > 0:
            fit.train(validation.snapshot)
        if fit.interrupted:
            return _best_so_far(fit.student if validation.student is None else validation.student)
        fit.interpolate(validation.fraction)
        return fit.student

    def _count_held_out(self, n_rows: int) -> int:
        if not self.options.early_stopping:
            return 0
        return count_held_out(n_rows, self.options.validation_fraction)

    def _plan(self, module_seed: int) -> Plan:
        options = self.options
        student, n_components = self._resolve_student(module_seed)
        settings = Settings(
            metric=options.metric,
            rank_power=options.rank_power,
            batch_size=options.batch_size,
            n_references=options.n_references,
            n_neighbors=options.n_neighbors,
            learning_rate_init=self._resolve_learning_rate(),
            max_iter=0 if self._is_exact(n_components) else options.max_iter,
        )
        return Plan(
            n_components=n_components,
            student=student,
            hidden_layer_sizes=options.hidden_layer_sizes,
            settings=settings,
            dropout=options.dropout,
            alphas=options.alphas,
            device=self.device,
            watch=self.progress.watch,
            processes=self.processes,
            start=self.start,
        )

    def _resolve_student(self, module_seed: int) -> tuple[str | torch.nn.Module | Callable, int]:
        """The built-in student's name or a new module, and the number of components."""
        student, n_components = self.options.student, self.options.n_components
        if self.start is not None and n_components is not None:
            return student, n_components
        if isinstance(student, str):
            return student, _count_components(n_components, self.fitted)
        wanted = _DEFAULT_COMPONENTS if n_components is None else n_components
        X = self.fitted.X
        module = new_module(student, X.shape[1], wanted, module_seed, self.device)
        return module, check_module(module, X, n_components, self.device)

    def _resolve_learning_rate(self) -> float:
        if not isinstance(self.options.learning_rate_init, str):
            return self.options.learning_rate_init
        is_compression = isinstance(self.options.student, str) and self.samples.teacher is None
        return _LEARNING_RATE if is_compression else _TRANSFER_LEARNING_RATE

    def _is_exact(self, n_components: int) -> bool:
        """Whether the closed form keeps all dissimilarities, so that no training is needed."""
        options, samples = self.options, self.fitted
        if self.start is not None or not isinstance(options.student, str):
            return False
        return samples.teacher is None and compression_is_exact(
            samples.X, n_components, options.metric, samples.teacher_metric
        )

    def _report(self) -> None:
        scores = self.validation.scores
        if scores:
            first, last = scores[0], scores[FRACTIONS.index(self.validation.fraction)]
            self.progress.say(
                "held-out rows: coherence {:.4f} -> {:.4f}, recall {:.4f} -> {:.4f}",
                first.coherence,
                last.coherence,
                first.recall,
                last.recall,
            )


def _with_targets(samples: Samples, random_state: RandomState, device: torch.device) -> Samples:
    """Samples with the targets of a regression onto the teacher, if there is one."""
    if samples.teacher is None:
        return samples
    targets = teacher_coordinates(
        samples.teacher, samples.teacher_metric, samples.weight, random_state, device
    )
    return samples._replace(targets=targets)


def _count_components(n_components: int | None, samples: Samples) -> int:
    """The number of components, which is limited by what the closed form can give."""
    n_features = samples.X.shape[1]
    limits = {f"{n_features} features": n_features}
    if samples.targets is not None:
        n_targets = samples.targets.shape[1]
        limits[f"{n_targets} dimensions of the teacher"] = n_targets
    largest = min(limits.values())
    if n_components is None:
        return min(_DEFAULT_COMPONENTS, largest)
    if n_components > largest:
        raise ValueError(
            f"n_components={n_components} is larger than the closed form allows for "
            f"{' and '.join(limits)}: set it to at most {largest}, or to None."
        )
    return n_components


def _best_so_far(student: torch.nn.Module | None) -> torch.nn.Module:
    """The student to return when the user interrupts the fit, if there is one."""
    if student is None:
        raise KeyboardInterrupt
    warnings.warn(
        "The fit was interrupted and returns the best student so far.",
        ConvergenceWarning,
        stacklevel=2,
    )
    return student
