"""StudentFit: initialization in closed form and training of one student on given samples."""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import scipy.sparse as sp
import torch
from numpy.random import RandomState
from numpy.typing import NDArray

from skperco.closed_form._initialization import ReducedRankRidge, compression_start
from skperco.closed_form._truncated_svd import (
    LinearMap,
    root_mean_square_norm,
    top_singular_vectors,
)
from skperco.dissimilarity._dense import ANGULAR_METRICS
from skperco.students._builtin import (
    LinearStudent,
    MLPStudent,
    ProjectionStudent,
    store_by_feature,
)
from skperco.students._custom import check_finite, contiguous, regress
from skperco.students._embed import embed
from skperco.training._plan import Plan
from skperco.training._samples import Samples
from skperco.training._settings import Settings
from skperco.training._subset import TrainingSubset
from skperco.training._teacher import Teacher
from skperco.training._trainer import Trainer
from skperco.utils._chunking import MappedRows, RowTaker
from skperco.utils._randomness import own_randomness
from skperco.utils._types import Rows

_MIN_ROWS = 3
# Regularization of transfers, besides feature dropout and a smaller learning rate: a larger weight
# of the global loss (global order can be predicted from few features, neighborhoods cannot).
_TRANSFER_GLOBAL_WEIGHT = 2.5
# Largest step of a transfer from the initialization towards the trained student. In measurements,
# going further gained no recall and lost coherence.
_TRANSFER_MAX_STEP = 0.8


class StudentFit:
    """A student: its initialization, its training, and the interpolation between the two.

    Parameters
    ----------
    samples : Samples
        Rows of the closed form.
    subset : TrainingSubset
        Rows from which each training step draws anchors and references.
    plan : Plan
    random_state : RandomState

    Attributes
    ----------
    student : torch.nn.Module
    alpha : float or None
        Ridge strength; None if there is no ridge regression.
    losses : list of float
        Loss before each step, including the steps before a snapshot from which it resumed.
    snapshot : dict or None
        State of the training at the end of its warm-up, from which another fit can resume.
    interrupted : bool
        Whether the user interrupted the training.
    """

    def __init__(
        self, samples: Samples, subset: TrainingSubset, plan: Plan, random_state: RandomState
    ):
        self.samples = samples
        self.subset = subset
        self.plan = plan
        self.random_state = random_state
        self.is_transfer = samples.teacher is not None
        self.has_closed_form = isinstance(plan.student, str)
        self.student: Any = None
        self.ridge: ReducedRankRidge | None = None
        self.trainer: Trainer | None = None
        self.alpha: float | None = None
        self.losses: list[float] = []
        self.snapshot: dict[str, Any] | None = None
        self.interrupted = False

    def initialize(self, criterion: Callable[[LinearMap], float] | None = None) -> "StudentFit":
        """Initialize the student; `criterion` chooses the ridge strength of a transfer."""
        plan = self.plan
        self.generator = torch.Generator().manual_seed(int(self.random_state.randint(2**31)))
        self.rank_generator = plan.processes.rank_generator(self.generator)
        if plan.start is not None:
            student = copy.deepcopy(plan.start)
        elif isinstance(plan.student, torch.nn.Module):
            student = self._regressed(copy.deepcopy(plan.student).to(plan.device))
        else:
            student = self._closed_form(criterion)
        self.student = student.to(plan.device)
        if sp.issparse(self.samples.X):
            store_by_feature(self.student)
        return self

    def train(self, snapshot: dict[str, Any] | None = None) -> None:
        """Train the student to the last step, or to the step at which the user interrupts.

        Parameters
        ----------
        snapshot : dict, default=None
            Of another fit, to resume from.
        """
        if self.plan.settings.max_iter == 0 or self.subset.n_rows < _MIN_ROWS:
            return
        try:
            with self._module_randomness():
                self._train(snapshot)
        except KeyboardInterrupt:
            self.interrupted = True
        self.losses = self._mean_losses()
        self.interpolate(1.0)

    def interpolate(self, fraction: float) -> None:
        """Interpolate the student between its initialization (0) and its largest step (1)."""
        if self.trainer is not None:
            self.trainer.interpolate(self._max_step * fraction)

    def embed(self, X: Rows) -> NDArray:
        """Embeddings of rows by the student."""
        embeddings = embed(self.student, X, device=self.plan.device, unit_norm=False)
        check_finite(torch.from_numpy(embeddings))
        return embeddings

    @property
    def can_resume(self) -> bool:
        """Whether fits to most rows and to all rows have nearly the same initialization."""
        return self.plan.start is not None or (self.has_closed_form and not self.is_transfer)

    def _train(self, snapshot: dict[str, Any] | None) -> None:
        trainer = self.trainer = self._prepared_trainer(self.subset.samples)
        if snapshot is not None:
            trainer.load_state_dict(snapshot)
        steps = trainer.run(keep_snapshot=self.can_resume and snapshot is None)
        n_steps = self.plan.settings.max_iter - trainer.n_steps
        for _ in self.plan.watch(steps, n_steps, partial(self._attributes_so_far, trainer)):
            pass
        self.snapshot = trainer.snapshot

    def _mean_losses(self) -> list[float]:
        """Losses of all steps, averaged over the processes."""
        if self.trainer is None or not self.trainer.losses:
            return []
        (losses,) = self.plan.processes.all_reduce_mean([torch.stack(self.trainer.losses)])
        metric = self.plan.settings.metric
        check_finite(losses, "student and metric" if callable(metric) else "student")
        return losses.tolist()

    def _prepared_trainer(self, samples: Samples) -> Trainer:
        """The trainer before its first step, with the student initialized."""
        dropout = self.plan.dropout if self.is_transfer and self.has_closed_form else 0.0
        take = RowTaker(samples.X, self.plan.device, dropout, self.rank_generator)
        trained = None if self.ridge is None else self._trained_projection(self.ridge, samples)
        trainer = self._trainer(self.student, take, self.subset.teacher, samples).prepare()
        if trained is not None:
            self.student.set_linear(trained)
        return trainer

    @property
    def _max_step(self) -> float:
        return _TRANSFER_MAX_STEP if self.is_transfer else 1.0

    def _attributes_so_far(self, trainer: Trainer) -> dict[str, Any]:
        """Fitted attributes of the estimator, if the training stopped now."""
        student = copy.deepcopy(self.student)
        trainer.interpolate(self._max_step, student)
        return {
            "student_": contiguous(student.cpu()),
            "n_components_": self.plan.n_components,
            "metric_": self.plan.settings.metric,
            "teacher_metric_": self.samples.teacher_metric,
        }

    def _closed_form(self, criterion: Callable[[LinearMap], float] | None) -> torch.nn.Module:
        linear = self._ridge_student(criterion) if self.is_transfer else self._svd_student()
        if self.plan.student == "linear":
            return linear
        row_norm = float(root_mean_square_norm(self.samples.X, self.samples.weight))
        return MLPStudent(linear, self.plan.hidden_layer_sizes, row_norm, self.generator)

    def _ridge_student(self, criterion: Callable[[LinearMap], float] | None) -> LinearStudent:
        """Student of a transfer: reduced-rank ridge regression onto the teacher."""
        samples = self.samples
        self.ridge = ReducedRankRidge(
            self.plan.n_components,
            metric=self.plan.settings.metric,
            random_state=self.random_state,
            alphas=self.plan.alphas,
            criterion=criterion,
        ).fit(samples.X, samples.targets, samples.weight)
        self.alpha = self.ridge.alpha_
        return LinearStudent(*_tensors(self.ridge.compose(self.ridge.directions_)))

    def _svd_student(self) -> LinearStudent:
        """Student of a compression: projection on the top right singular vectors."""
        metric = self.plan.settings.metric
        projection = self._singular_vectors(self.plan.n_components)
        kind = ProjectionStudent if metric in ANGULAR_METRICS else LinearStudent
        return kind(*_tensors(projection))

    def _singular_vectors(self, n_components: int) -> LinearMap:
        return compression_start(
            self.samples.X,
            n_components,
            metric=self.plan.settings.metric,
            sample_weight=self.samples.weight,
            random_state=self.random_state,
        )

    def _trained_projection(self, ridge: ReducedRankRidge, samples: Samples) -> LinearMap:
        """The ridge regression with a projection trained on out-of-fold predictions.

        A regression predicts the rows that it was fitted to more accurately than new rows, so the
        projection is trained on predictions for rows outside the fit.
        """
        predictions, teacher, metric = ridge.cross_predictions(
            samples.X, samples.targets[:], samples.weight
        )
        projection = LinearStudent(*_tensors(ridge.directions_)).to(self.plan.device)
        trainer = self._trainer(
            projection,
            RowTaker(predictions, self.plan.device),
            Teacher(teacher, metric, self.plan.device),
            samples,
        ).prepare()
        for _ in trainer.run():
            pass
        trainer.interpolate(1.0)
        return ridge.compose(projection.linear_map())

    def _regressed(self, module: torch.nn.Module) -> torch.nn.Module:
        """A user-defined module after regression onto the projected teacher."""
        samples, settings = self.samples, self._settings(self.samples)
        targets = self._projected_teacher()
        # Scaled to a root mean square norm of 1, which changes no order and gives steps of usual
        # size.
        scale = root_mean_square_norm(targets, samples.weight)
        padding = (0, self.plan.n_components - targets.shape[1])

        def take_targets(rows: torch.Tensor) -> torch.Tensor:
            taken = torch.from_numpy(targets[rows.numpy()] / scale).float()
            return torch.nn.functional.pad(taken, padding).to(self.plan.device)

        with self._module_randomness():
            loss = regress(
                module,
                RowTaker(samples.X, self.plan.device),
                take_targets,
                torch.from_numpy(samples.weight),
                angular=settings.metric in ANGULAR_METRICS,
                batch_size=settings.batch_size,
                learning_rate_init=settings.learning_rate_init,
                max_iter=settings.max_iter,
                generator=self.generator,
            )
        check_finite(loss)
        return module

    def _projected_teacher(self) -> MappedRows:
        """The teacher's embeddings, projected on their top right singular vectors."""
        samples, metric = self.samples, self.plan.settings.metric
        if not self.is_transfer:
            n_components = min(self.plan.n_components, samples.X.shape[1])
            return self._singular_vectors(n_components).lazily(samples.X)
        n_components = min(self.plan.n_components, samples.targets.shape[1])
        projection = top_singular_vectors(
            samples.targets,
            n_components,
            center=metric not in ANGULAR_METRICS,
            sample_weight=samples.weight,
            random_state=self.random_state,
        )
        return projection.lazily(samples.targets)

    def _module_randomness(self) -> AbstractContextManager:
        """Seed and restore the global generators, from which user-defined modules draw."""
        if self.has_closed_form:
            return nullcontext()
        return own_randomness(int(self.random_state.randint(2**31)), self.plan.device)

    def _trainer(
        self, student: torch.nn.Module, take: RowTaker, teacher: Teacher, samples: Samples
    ) -> Trainer:
        return Trainer(
            student,
            take,
            teacher,
            self._settings(samples),
            torch.from_numpy(samples.weight),
            self.rank_generator,
            self.plan.processes,
        )

    def _settings(self, samples: Samples) -> Settings:
        """Settings of the plan for these samples."""
        settings = self.plan.settings
        settings = settings._replace(
            n_neighbors=max(2, min(settings.n_neighbors, samples.n_rows // 10))
        )
        if self.has_closed_form and not self.is_transfer:
            return settings
        return settings._replace(global_weight=_TRANSFER_GLOBAL_WEIGHT * settings.global_weight)


def _tensors(linear_map: LinearMap) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(part).float() for part in linear_map)
