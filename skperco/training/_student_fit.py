"""Fit: initialization in closed form and training of one student on given samples."""

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import NamedTuple

import torch

from skperco.closed_form._initialization import Transfer, compression_start
from skperco.closed_form._truncated_svd import leading_directions, root_mean_square_norm
from skperco.dissimilarity._dense import ANGULAR_METRICS
from skperco.students._builtin import LinearStudent, MLPStudent, ProjectionStudent
from skperco.students._custom import check_finite, own_randomness, regress
from skperco.students._embed import embed
from skperco.training._distributed import Processes
from skperco.training._optimizer import Refinement, Settings
from skperco.training._teacher import Teacher
from skperco.utils._chunking import MappedRows, RowTaker

_LEAST_ROWS = 3
# Regularization of transfers: feature dropout, a smaller learning rate and a larger weight of the
# global loss (global order can be predicted from few features, neighborhoods cannot).
_TRANSFER_DROPOUT = 0.15
_TRANSFER_RATE = 0.3
_TRANSFER_GLOBAL_WEIGHT = 2.5
# Largest interpolation of a transfer towards the trained student: the last part was measured to
# gain no recall and to lose coherence.
_TRANSFER_REACH = 0.8


class Plan(NamedTuple):
    """Configuration of a fit, independent of its samples.

    Attributes
    ----------
    n_components : int
    student : {"linear", "mlp"} or torch.nn.Module
        A module is left alone, too.
    hidden_layer_sizes : sequence of int
    settings : Settings
    device : torch.device
    watch : callable
        Passes on the steps of a student, as :meth:`Progress.watch` does.
    processes : Processes
        Those that fit together.
    start : torch.nn.Module, default=None
        A student to start from in place of the closed form; left alone.
    """

    n_components: int
    student: str | torch.nn.Module
    hidden_layer_sizes: tuple
    settings: Settings
    device: torch.device
    watch: Callable
    processes: Processes
    start: torch.nn.Module | None = None


class Fit:
    """A student: its initialization, its training, and the interpolation between the two.

    Parameters
    ----------
    samples : Samples
        For the closed form.
    pool : Pool
        The training subset, from which steps draw.
    plan : Plan
    random_state : RandomState
    alpha : float, default=None
        Strength of the ridge regression of a transfer.
    worth : callable, default=None
        What chooses it, as for :class:`Transfer`.
    trial : Fit, default=None
        A fit to most of the samples, from whose snapshot this one resumes if their
        initializations are alike.

    Attributes
    ----------
    student : torch.nn.Module
    alpha : float or None
        The strength taken; None if there is no ridge regression.
    losses : list of float
        Loss before each step, those before the snapshot included.
    interrupted : bool
        Whether the user has cut the refinement short.
    """

    def __init__(self, samples, pool, plan, random_state, *, alpha=None, worth=None, trial=None):
        self.samples = samples
        self.pool = pool
        self.trial = trial
        self.plan = plan
        self.random_state = random_state
        self.generator = torch.Generator().manual_seed(int(random_state.randint(2**31)))
        self.draws = plan.processes.rank_generator(self.generator)
        self.transfers = samples.teacher is not None
        self.transfer = None
        self.has_closed_form = isinstance(plan.student, str)
        if self.has_closed_form and self.transfers and plan.start is None:
            self.transfer = self._transfer(alpha, worth)
        self.alpha = None if self.transfer is None else self.transfer.alpha
        if plan.start is not None:
            self.student = copy.deepcopy(plan.start).to(plan.device)
        elif self.has_closed_form:
            self.student = self._new_student().to(plan.device)
        else:
            self.student = self._regressed(copy.deepcopy(plan.student).to(plan.device))
        self.losses = []
        self.refinement = None
        self.snapshot = None
        self.interrupted = False

    def refine(self):
        """Train the student to the last step.

        Interrupted by the user, it is as far as the steps have led until then.
        """
        if self.plan.settings.max_iter == 0 or self.pool.n_rows < _LEAST_ROWS:
            return
        try:
            with self._randomness():
                self._refine(self.pool.samples)
        except KeyboardInterrupt:
            self.interrupted = True
        metric = self.plan.settings.metric
        if self.losses:
            losses = self.plan.processes.all_reduce_mean([torch.stack(self.losses)])[0]
            check_finite(losses, "student and metric" if callable(metric) else "student")
            self.losses = losses.tolist()
        self.blend(1.0)

    def blend(self, fraction):
        """Interpolate the student between its initialization (0) and its largest change (1)."""
        if self.refinement is not None:
            self.refinement.blend(self._reach * fraction)

    def settle(self, fraction):
        """Interpolate the student for the last time, and free what training needs."""
        self.blend(fraction)
        self.samples = self.pool = self.transfer = self.refinement = None

    def embed(self, X):
        """The student's embeddings of rows, an ndarray."""
        embeddings = embed(self.student, X, device=self.plan.device, unit_norm=False)
        check_finite(torch.from_numpy(embeddings))
        return embeddings

    def _refine(self, seen):
        self.refinement = self._first_refinement(seen)
        if self.trial is not None and self.trial.snapshot is not None:
            self.refinement.resume_from(self.trial)
            early = self.trial.losses[: self.refinement.n_taken]
            self.losses = list(torch.tensor(early, dtype=torch.float32, device=self.plan.device))
        n_steps = self.plan.settings.max_iter - self.refinement.n_taken
        steps = self.refinement.run(keep_snapshot=self.trial is None and self._starts_alike)
        for loss in self.plan.watch(steps, n_steps, self._attributes_so_far):
            self.losses.append(loss)
        self.snapshot = self.refinement.snapshot

    def _first_refinement(self, seen):
        """The training before its first step, with the student initialized."""
        dropout = _TRANSFER_DROPOUT if self.transfers and self.has_closed_form else 0.0
        take = RowTaker(seen.X, self.plan.device, dropout, self.draws)
        refined = None if self.transfer is None else self._refined_directions(seen)
        refinement = self._refinement(self.student, take, self.pool.teacher, seen)
        if refined is not None:
            self.student.set_linear(refined)
        return refinement

    @property
    def _starts_alike(self):
        """Whether fits to most of the rows and to all have nearly the same initialization."""
        return self.plan.start is not None or (self.has_closed_form and not self.transfers)

    @property
    def _reach(self):
        return _TRANSFER_REACH if self.transfers else 1.0

    def _attributes_so_far(self):
        """Fitted attributes of the estimator, if training stopped now."""
        student = copy.deepcopy(self.student)
        self.refinement.blend(self._reach, student)
        return {
            "student_": student.cpu(),
            "n_components_": self.plan.n_components,
            "metric_": self.plan.settings.metric,
            "teacher_metric_": self.samples.teacher_metric,
        }

    def _transfer(self, alpha, worth):
        samples = self.samples
        return Transfer(
            samples.X,
            samples.targets,
            self.plan.n_components,
            metric=self.plan.settings.metric,
            sample_weight=samples.weight,
            random_state=self.random_state,
            alpha=alpha,
            worth=worth,
        )

    def _regressed(self, module):
        """A module after regression onto the leading directions of the teacher."""
        samples, settings = self.samples, self.plan.settings
        targets = self._leading_targets()
        # Only order counts; and steps towards targets of a usual size are of a usual size.
        scale = root_mean_square_norm(targets, samples.weight)
        missing = (0, self.plan.n_components - targets.shape[1])

        def take_targets(rows):
            taken = torch.from_numpy(targets[rows.numpy()] / scale).float()
            return torch.nn.functional.pad(taken, missing).to(self.plan.device)

        with self._randomness():
            loss = regress(
                module,
                RowTaker(samples.X, self.plan.device),
                take_targets,
                torch.from_numpy(samples.weight),
                angular=settings.metric in ANGULAR_METRICS,
                max_iter=settings.max_iter,
                generator=self.generator,
            )
        check_finite(loss)
        return module

    def _leading_targets(self):
        samples, metric = self.samples, self.plan.settings.metric
        if not self.transfers:
            n_components = min(self.plan.n_components, samples.X.shape[1])
            start = compression_start(
                samples.X,
                n_components,
                metric=metric,
                sample_weight=samples.weight,
                random_state=self.random_state,
            )
            return MappedRows(samples.X, start, n_components)
        n_components = min(self.plan.n_components, samples.targets.shape[1])
        directions = leading_directions(
            samples.targets,
            n_components,
            center=metric not in ANGULAR_METRICS,
            sample_weight=samples.weight,
            random_state=self.random_state,
        )
        return MappedRows(samples.targets, directions, n_components)

    def _randomness(self):
        """Protect the global generators, from which users' modules draw; a context manager."""
        if self.has_closed_form:
            return nullcontext()
        return own_randomness(int(self.random_state.randint(2**31)), self.plan.device)

    def _new_student(self):
        linear = self._new_linear_student()
        if self.plan.student == "linear":
            return linear
        row_norm = float(root_mean_square_norm(self.samples.X, self.samples.weight))
        return MLPStudent(linear, self.plan.hidden_layer_sizes, row_norm, self.generator)

    def _new_linear_student(self):
        if self.transfer is not None:
            return LinearStudent(*_tensors(self.transfer.through(self.transfer.directions)))
        metric = self.plan.settings.metric
        start = compression_start(
            self.samples.X,
            self.plan.n_components,
            metric=metric,
            sample_weight=self.samples.weight,
            random_state=self.random_state,
        )
        kind = ProjectionStudent if metric in ANGULAR_METRICS else LinearStudent
        return kind(*_tensors(start))

    def _refined_directions(self, seen):
        """The closed form of a transfer with directions refined on cross-predictions.

        Rows that a regression has seen are predicted better than any later row: directions
        are learned from predictions by regressions that have not seen the row.
        """
        predictions, teacher, metric = self.transfer.cross_predictions(
            seen.X, seen.targets[:], seen.weight
        )
        directions = LinearStudent(*_tensors(self.transfer.directions)).to(self.plan.device)
        take = RowTaker(predictions, self.plan.device)
        teacher = Teacher(teacher, metric, self.plan.device)
        refinement = self._refinement(directions, take, teacher, seen)
        for _ in refinement.run():
            pass
        refinement.blend(1.0)
        return self.transfer.through(directions.linear_map())

    def _refinement(self, student, take, teacher, seen):
        weight = torch.from_numpy(seen.weight)
        settings = self._settings(seen)
        return Refinement(student, take, teacher, settings, weight, self.draws, self.plan.processes)

    def _settings(self, seen):
        settings = self.plan.settings
        n_neighbors = max(2, min(settings.n_neighbors, seen.n_rows // 10))
        settings = settings._replace(n_neighbors=n_neighbors)
        if self.has_closed_form and not self.transfers:
            return settings
        return settings._replace(
            learning_rate_init=_TRANSFER_RATE * settings.learning_rate_init,
            global_weight=_TRANSFER_GLOBAL_WEIGHT * settings.global_weight,
        )


def _tensors(linear_map):
    return (torch.from_numpy(part).float() for part in linear_map)
