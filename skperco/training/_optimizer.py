"""Training: draws of anchors and references, and normalized gradient descent with momentum."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch

from skperco.students._builtin import embeddings_of, scaled_parameters
from skperco.training._distributed import Processes
from skperco.training._objective import GlobalTerm, LocalTerm, comparison_by

_GLOBAL_POWER = 1.4
# Limit of the number of anchors of the global loss in a step: sorting dominates its cost, and its
# gradient varies little between anchors.
_GLOBAL_ANCHORS = 256
# Fraction of max_iter used as a cheap warm-up with half as many anchors for the global loss. The
# final fit resumes from the state of the validation fit at the end of the warm-up; measured to be
# as good as training from scratch.
_WARMUP_FRACTION = 1 / 3
_MOMENTUM = 0.9
_AVERAGING = 0.95
_EPS = 1e-30


class Settings(NamedTuple):
    """Parameters of the training."""

    metric: str | Callable
    rank_power: float
    batch_size: int
    n_references: int
    n_neighbors: int
    learning_rate_init: float
    max_iter: int
    global_weight: float = 1.8


class _Parameter:
    """A parameter of the student, with its momentum and moving average."""

    def __init__(self, value, scale):
        self.value = value
        self.scale = scale
        self.start = value.detach().clone()
        self.average = self.start.clone()
        self.velocity = torch.zeros_like(self.start)

    def state(self):
        """The state, by name; tensors that steps change in place are copied."""
        kept = {"value": self.value.detach(), "average": self.average, "velocity": self.velocity}
        return {"start": self.start} | {name: tensor.clone() for name, tensor in kept.items()}

    @torch.no_grad()
    def load(self, state):
        """Load a state, which is not copied."""
        self.value.copy_(state.pop("value"))
        for name, tensor in state.items():
            setattr(self, name, tensor)


class Refinement:
    """Gradient steps that move a student towards its teacher's ranks.

    The far loss compares ranks among random references, the same for all anchors. The near
    loss compares log ranks among references from each anchor's own neighborhood, which random
    ones hardly ever show. Their logarithms are added, so that neither depends on its scale,
    the far one times a weight.

    Parameters
    ----------
    student : torch.nn.Module
        Changed in place.
    take : RowTaker
        Gives the student's input.
    teacher : Teacher
    settings : Settings
    sample_weight : torch.Tensor of shape (n_rows,)
        How often a row is drawn, in proportion.
    generator : torch.Generator
        On the CPU.
    processes : Processes, default=None
        Those that do the same with copies of the student; this one alone if None.
    """

    def __init__(self, student, take, teacher, settings, sample_weight, generator, processes=None):
        self.processes = Processes() if processes is None else processes
        self.processes.broadcast_module(student)
        self.student = student
        self.take = take
        self.teacher = teacher
        self.settings = settings
        # Rows are drawn by inverse transform sampling from the cumulative weights.
        mass = sample_weight.double().cumsum(0)
        self.shares = mass / mass[-1]
        self.generator = generator
        self.device = teacher.device
        self.comparison = comparison_by(settings.metric)
        self.n_taken = 0
        self._see_all = None
        self.terms = self._weighted_terms()
        self.parameters = [_Parameter(*scaled) for scaled in scaled_parameters(student)]
        self.snapshot = None

    def resume_from(self, other):
        """Resume from the snapshot of another, of the same kind of student, and delete it there."""
        self.n_taken, states = other.snapshot
        other.snapshot = None
        for parameter, state in zip(self.parameters, states, strict=True):
            parameter.load(state)

    def run(self, *, keep_snapshot=False):
        """Take the remaining steps, and yield the loss before each, a tensor of shape ().

        With `keep_snapshot` its state at the end of the warm-up is kept, to resume from.
        """
        self.student.train()
        while self.n_taken < self.settings.max_iter:
            if keep_snapshot and self.n_taken == self._n_coarse:
                self.snapshot = self.n_taken, [parameter.state() for parameter in self.parameters]
            decay = (1 + math.cos(math.pi * self.n_taken / self.settings.max_iter)) / 2
            loss = self._loss(self.terms)
            if not loss.requires_grad:
                raise ValueError(
                    f"metric must be differentiable, and {self.settings.metric!r} returned "
                    "dissimilarities without a gradient."
                )
            self._descend(loss, self.settings.learning_rate_init * decay)
            self.n_taken += 1
            yield loss.detach()

    @torch.no_grad()
    def blend(self, fraction, student=None):
        """Put the student, or its copy, between the start (0) and the average of the steps (1)."""
        values = scaled_parameters(self.student if student is None else student)
        for parameter, (value, _) in zip(self.parameters, values, strict=True):
            value.copy_(torch.lerp(parameter.start, parameter.average, fraction))

    def _descend(self, loss, rate):
        """One step of normalized gradient descent with momentum (Cutkosky and Mehta, 2020).

        One norm for all of a parameter: what few rows have in common, such as a rare word,
        moves less than what many share, and is not overfitted.
        """
        values = [parameter.value for parameter in self.parameters]
        # A module may have parameters that it does not use.
        gradients = torch.autograd.grad(loss, values, allow_unused=True, materialize_grads=True)
        with torch.no_grad():
            gradients = self.processes.all_reduce_mean(gradients)
            for parameter, gradient in zip(self.parameters, gradients, strict=True):
                # Scale the step, not the gradient, of which a copy would be large for wide rows.
                scale = (1 - _MOMENTUM) / gradient.norm().clamp(min=_EPS)
                parameter.velocity.mul_(_MOMENTUM).addcmul_(gradient, scale)
                parameter.value.sub_(parameter.velocity, alpha=rate * parameter.scale)
                parameter.average.lerp_(parameter.value, 1 - _AVERAGING)

    def _weighted_terms(self):
        """The terms of the loss, each with its weight."""
        far = GlobalTerm(self.teacher, self.comparison, self._pair)
        if self.settings.rank_power == 1:
            return [(far, 1.0)]
        lists = self.teacher.nearest(min(self.settings.n_neighbors, len(self.teacher) - 1))
        near = LocalTerm(lists, self.comparison, self.generator)
        if self.settings.rank_power == 0:
            return [(near, 1.0)]
        return [(near, 1.0), (far, self._far_weight(near))]

    @torch.no_grad()
    def _far_weight(self, near):
        """Weight of the global loss: larger if the initialization keeps more of the neighbors.

        The power was measured, with the factor in the settings, on text at 16 and 64 dimensions,
        where it leaves the closed form's coherence as it is.
        """
        odds = self.settings.rank_power / (1 - self.settings.rank_power)
        start = self.processes.all_reduce_mean([self._loss([(near, 1.0)])])[0].item()
        return self.settings.global_weight * odds * max(-start, 0) ** _GLOBAL_POWER

    def _loss(self, terms):
        anchors = self._draw(self.settings.batch_size)
        drawn = [term.draw(anchors) for term, _ in terms]
        embeddings, places = self._images([numbers for numbers, _ in drawn])
        return sum(
            weight * term(embeddings, at, target)
            for (term, weight), at, (_, target) in zip(terms, places, drawn, strict=True)
        )

    def _images(self, drawn):
        """Embeddings of rows, each computed once, and where those of all that is drawn are."""
        flat = torch.cat([part.flatten() for numbers in drawn for part in numbers])
        if len(flat) >= len(self.teacher):
            return self.comparison.normalize(self._embeddings_of_all()), drawn
        rows, places = flat.unique(return_inverse=True)
        places = iter(places.split([part.numel() for numbers in drawn for part in numbers]))
        at = [[next(places).view(part.shape) for part in numbers] for numbers in drawn]
        return self.comparison.normalize(self.student(self.take(rows))), at

    def _embeddings_of_all(self):
        if self.take.dropout:
            return self.student(self.take.all())
        if self._see_all is None:
            self._see_all = embeddings_of(self.student, self.take.all())
        return self._see_all()

    @property
    def _n_coarse(self):
        return int(_WARMUP_FRACTION * self.settings.max_iter)

    def _pair(self, anchors):
        """Some of the anchors, and references of all processes."""
        n_anchors = _GLOBAL_ANCHORS // 2 if self.n_taken < self._n_coarse else _GLOBAL_ANCHORS
        references = self._draw(self.settings.n_references)
        return anchors[:n_anchors], self.processes.all_gather(references)

    def _draw(self, size):
        """Indices of random rows, drawn with replacement."""
        drawn = torch.rand(size, generator=self.generator, dtype=torch.float64)
        return torch.searchsorted(self.shares, drawn, right=True).to(self.device)
