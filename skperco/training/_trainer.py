"""Trainer: draws of anchors and references, and the steps of the optimizer."""

import math
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from skperco.students._builtin import embeddings_of, scaled_parameters
from skperco.training._distributed import Processes
from skperco.training._objective import GlobalTerm, Indices, LocalTerm, comparison_by
from skperco.training._optimizer import NormalizedSGD
from skperco.training._settings import Settings
from skperco.training._teacher import Teacher
from skperco.utils._chunking import RowTaker

# Exponent of the negative log local loss of the initialization in the weight of the global loss. It
# and the factor in the settings were tuned on text at 16 and 64 dimensions, so that training keeps
# the coherence of the closed form.
_GLOBAL_POWER = 1.4
# Limit of the number of anchors of the global loss in a step: sorting dominates its cost, and its
# gradient varies little between anchors.
_GLOBAL_ANCHORS = 256
# Fraction of max_iter used as a cheap warm-up with half as many anchors for the global loss. The
# final fit resumes from the state of the validation fit at the end of the warm-up; measured to be
# as good as training from scratch.
_WARMUP_FRACTION = 1 / 3
# Decay of the exponential moving average of the parameters.
_AVERAGING = 0.95


class Trainer:
    """Trains a student by gradient steps towards the ranks of its teacher.

    The global loss compares ranks among random references, which are the same for all anchors.
    The local loss compares log ranks among references from the neighborhood of each anchor, few of
    which are among random references. The training loss is the sum of the logarithms of the two,
    with a weight for the global one. Logarithms make the balance independent of their scales.

    The trained student is the exponential moving average of the students after each step.

    Parameters
    ----------
    student : torch.nn.Module
        Changed in place.
    take : RowTaker
        Returns input rows of the student.
    teacher : Teacher
    settings : Settings
    sample_weight : torch.Tensor of shape (n_rows,)
        Rows are drawn in proportion to it.
    generator : torch.Generator
        On the CPU.
    processes : Processes, default=None
        Processes that train copies of the student; this one alone if None.
    """

    def __init__(
        self,
        student: torch.nn.Module,
        take: RowTaker,
        teacher: Teacher,
        settings: Settings,
        sample_weight: torch.Tensor,
        generator: torch.Generator,
        processes: Processes | None = None,
    ):
        self.student = student
        self.take = take
        self.teacher = teacher
        self.settings = settings
        self.sample_weight = sample_weight
        self.generator = generator
        self.processes = Processes() if processes is None else processes
        self.comparison = comparison_by(settings.metric)
        self.losses: list[torch.Tensor] = []
        self.snapshot: dict[str, Any] | None = None

    def prepare(self) -> "Trainer":
        """Search neighbors, weight the losses, and start the averages at the initialization."""
        self.processes.broadcast_module(self.student)
        # Rows are drawn by inverse transform sampling from the cumulative weights.
        mass = self.sample_weight.double().cumsum(0)
        self.cumulative_weight = mass / mass[-1]
        self._embed_all: Callable[[], torch.Tensor] | None = None
        self.terms = self._weighted_terms()
        parameters = scaled_parameters(self.student)
        self.optimizer = NormalizedSGD(parameters, self.settings.learning_rate_init)
        self.initial = [value.clone() for value in self.optimizer.values]
        self.averages = [value.clone() for value in self.initial]
        return self

    @property
    def n_steps(self) -> int:
        """Number of steps taken."""
        return len(self.losses)

    def run(self, *, keep_snapshot: bool = False) -> Iterator[torch.Tensor]:
        """Take the remaining steps and yield the loss before each, a tensor of shape ().

        If `keep_snapshot`, the attribute `snapshot` is the state at the end of the warm-up.
        """
        self.student.train()
        while self.n_steps < self.settings.max_iter:
            if keep_snapshot and self.n_steps == self._n_warmup_steps:
                self.snapshot = self.state_dict()
            yield self._step()

    def state_dict(self) -> dict[str, Any]:
        """A copy of the state of the training, from which another one can resume."""
        return {
            "losses": list(self.losses),
            "optimizer": self.optimizer.state_dict(),
            "initial": self.initial,
            "averages": [average.clone() for average in self.averages],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from the state of a training of the same kind of student."""
        self.losses = list(state["losses"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.initial, self.averages = state["initial"], state["averages"]

    @torch.no_grad()
    def interpolate(self, fraction: float, student: torch.nn.Module | None = None) -> None:
        """Set the student, or a copy of it, between its initialization (0) and the average (1)."""
        parameters = scaled_parameters(self.student if student is None else student)
        for (parameter, _), initial, average in zip(
            parameters, self.initial, self.averages, strict=True
        ):
            parameter.copy_(torch.lerp(initial, average, fraction))

    def _step(self) -> torch.Tensor:
        loss = self._loss(self.terms)
        if not loss.requires_grad:
            raise ValueError(
                f"metric must be differentiable, and {self.settings.metric!r} returned "
                "dissimilarities without a gradient."
            )
        # A module may have parameters that it does not use.
        gradients = torch.autograd.grad(
            loss, self.optimizer.parameters, allow_unused=True, materialize_grads=True
        )
        cosine_decay = (1 + math.cos(math.pi * self.n_steps / self.settings.max_iter)) / 2
        self.optimizer.step(self.processes.all_reduce_mean(gradients), cosine_decay)
        for average, value in zip(self.averages, self.optimizer.values, strict=True):
            average.lerp_(value, 1 - _AVERAGING)
        self.losses.append(loss.detach())
        return self.losses[-1]

    def _weighted_terms(self) -> list[tuple[Any, float]]:
        """The terms of the loss, each with its weight."""
        # A weak reference: a term that refers to its trainer would be a reference cycle, whose
        # tensors stay in memory until the next garbage collection.
        trainer = weakref.proxy(self)
        global_term = GlobalTerm(
            self.teacher.order, self.comparison, lambda anchors: trainer._draw_pair(anchors)
        )
        if self.settings.rank_power == 1:
            return [(global_term, 1.0)]
        nearest = self.teacher.nearest(min(self.settings.n_neighbors, len(self.teacher) - 1))
        local_term = LocalTerm(nearest, self.comparison, self.generator)
        if self.settings.rank_power == 0:
            return [(local_term, 1.0)]
        return [(local_term, 1.0), (global_term, self._global_weight(local_term))]

    @torch.no_grad()
    def _global_weight(self, local_term: LocalTerm) -> float:
        """Weight of the global loss: larger if the initialization keeps more of the neighbors."""
        odds = self.settings.rank_power / (1 - self.settings.rank_power)
        log_loss = self.processes.all_reduce_mean([self._loss([(local_term, 1.0)])])[0].item()
        return self.settings.global_weight * odds * max(-log_loss, 0) ** _GLOBAL_POWER

    def _loss(self, terms: list[tuple[Any, float]]) -> torch.Tensor:
        anchors = self._draw(self.settings.batch_size)
        drawn = [term.draw(anchors) for term, _ in terms]
        embeddings, positions = self._embed_drawn([indices for indices, _ in drawn])
        return sum(
            weight * term(embeddings, at, target)
            for (term, weight), at, (_, target) in zip(terms, positions, drawn, strict=True)
        )

    def _embed_drawn(self, drawn: list[Indices]) -> tuple[torch.Tensor, Sequence[Indices]]:
        """Embeddings of rows, each computed once, and the positions of the drawn rows in them."""
        flat = torch.cat([part.flatten() for indices in drawn for part in indices])
        if len(flat) >= len(self.teacher):
            return self.comparison.normalize(self._embeddings_of_all()), drawn
        rows, inverse = flat.unique(return_inverse=True)
        parts = iter(inverse.split([part.numel() for indices in drawn for part in indices]))
        positions = [[next(parts).view(part.shape) for part in indices] for indices in drawn]
        return self.comparison.normalize(self.student(self.take(rows))), positions

    def _embeddings_of_all(self) -> torch.Tensor:
        if self.take.dropout:
            return self.student(self.take.all())
        if self._embed_all is None:
            self._embed_all = embeddings_of(self.student, self.take.all())
        return self._embed_all()

    @property
    def _n_warmup_steps(self) -> int:
        return int(_WARMUP_FRACTION * self.settings.max_iter)

    def _draw_pair(self, anchors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Some of the anchors, and references of all processes."""
        warms_up = self.n_steps < self._n_warmup_steps
        n_anchors = _GLOBAL_ANCHORS // 2 if warms_up else _GLOBAL_ANCHORS
        references = self._draw(self.settings.n_references)
        return anchors[:n_anchors], self.processes.all_gather(references)

    def _draw(self, size: int) -> torch.Tensor:
        """Indices of random rows, drawn with replacement."""
        drawn = torch.rand(size, generator=self.generator, dtype=torch.float64)
        rows = torch.searchsorted(self.cumulative_weight, drawn, right=True)
        return rows.to(self.teacher.device)
