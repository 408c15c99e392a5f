"""Refinement by rank: draw anchors and references, and step."""

import math
from collections.abc import Callable
from contextlib import contextmanager
from typing import NamedTuple

import torch

from skperco.dissimilarity import pairwise_dissimilarity
from skperco.losses import rank_correlation_loss, rank_loss
from skperco.ranking import percentile_rank

# Weight of the far loss against the near one at rank_power 0.5, where it then follows the
# coherence of held-out rows: by these factors where it is kept, and where it is lost.
_FAR_WEIGHT = 1.5
_WHERE_KEPT = 0.8
_WHERE_LOST = 1.5
# References that one step draws from the list of an anchor's nearest.
_NEAR_REFERENCES = 16
# A loss below this counts as zero: its logarithm must not outweigh the other loss.
_SMALLEST_LOSS = 1e-6
_MOMENTUM = 0.9
_AVERAGING = 0.95
_TINY = 1e-30


class Settings(NamedTuple):
    """What the distiller's parameters say about the refinement."""

    metric: str | Callable
    rank_power: float
    batch_size: int
    n_references: int
    n_neighbors: int
    learning_rate_init: float
    max_iter: int


class _Parameter:
    """A parameter of the student, and what the steps keep about it."""

    def __init__(self, value, scale):
        self.value = value
        self.scale = scale
        self.start = value.detach().clone()
        self.average = self.start.clone()
        self.velocity = torch.zeros_like(self.start)


class Refinement:
    """Gradient steps that move a student towards its teacher's ranks.

    The far loss compares ranks among random references, the same for all anchors. The near
    loss compares log ranks among references from each anchor's own neighbourhood, which random
    ones hardly ever show. Their logarithms are added, so that neither depends on its scale,
    the far one times :attr:`far_weight`.

    Parameters
    ----------
    student : torch.nn.Module
        Changed in place.
    take : callable
        Numbers of rows, an int64 tensor, to the student's input of those rows.
    teacher : Teacher
    settings : Settings
    sample_weight : torch.Tensor of shape (n_rows,)
        How often a row is drawn, in proportion.
    generator : torch.Generator
        On the CPU.
    """

    def __init__(self, student, take, teacher, settings, sample_weight, generator):
        self.student = student
        self.take = take
        self.teacher = teacher
        self.settings = settings
        self.sample_weight = sample_weight
        self.generator = generator
        self.device = teacher.device
        self.neighbors, self.near_targets = teacher.nearest(
            min(settings.n_neighbors, len(teacher) - 1)
        )
        self.far_weight = _odds(settings.rank_power)
        self.parameters = [_Parameter(*scaled) for scaled in student.scaled_parameters()]

    def run(self):
        """Take all steps, and yield the loss before each, a tensor of shape ()."""
        for step in range(self.settings.max_iter):
            decay = (1 + math.cos(math.pi * step / self.settings.max_iter)) / 2
            loss = self._loss()
            if not loss.requires_grad:
                raise ValueError(
                    f"metric must be differentiable, and {self.settings.metric!r} returned "
                    "dissimilarities without a gradient."
                )
            self._descend(loss, self.settings.learning_rate_init * decay)
            yield loss.detach()

    def rebalance(self, kept):
        """Shift weight to the near loss where the coherence is kept, to the far one where not.

        A `rank_power` above 0.5 bounds the weight of the far loss from below, one beneath it
        from above.
        """
        odds = _odds(self.settings.rank_power)
        weight = self.far_weight * (_WHERE_KEPT if kept else _WHERE_LOST)
        if self.settings.rank_power > 0.5:
            weight = max(weight, odds)
        elif self.settings.rank_power < 0.5:
            weight = min(weight, odds)
        self.far_weight = weight

    @contextmanager
    def averaged(self):
        """Put the student at the running average of its steps for a while."""
        values = [parameter.value.detach().clone() for parameter in self.parameters]
        self.blend(1.0)
        yield
        with torch.no_grad():
            for parameter, value in zip(self.parameters, values, strict=True):
                parameter.value.copy_(value)

    @torch.no_grad()
    def blend(self, fraction):
        """Put the student between its start (0) and the running average of its steps (1)."""
        for parameter in self.parameters:
            parameter.value.copy_(torch.lerp(parameter.start, parameter.average, fraction))

    def _descend(self, loss, rate):
        """One step of normalised gradient descent with momentum (Cutkosky and Mehta, 2020).

        One norm for all of a parameter: what few rows have in common, such as a rare word,
        moves less than what many share, and is not overfitted.
        """
        gradients = torch.autograd.grad(loss, [parameter.value for parameter in self.parameters])
        with torch.no_grad():
            for parameter, gradient in zip(self.parameters, gradients, strict=True):
                direction = gradient / gradient.norm().clamp(min=_TINY)
                parameter.velocity.lerp_(direction, 1 - _MOMENTUM)
                parameter.value.sub_(parameter.velocity, alpha=rate * parameter.scale)
                parameter.average.lerp_(parameter.value, 1 - _AVERAGING)

    def _loss(self):
        anchors = self._draw(self.settings.batch_size)
        images = self.student(self.take(anchors))
        if self.settings.rank_power == 1:
            return self._log_far_loss(anchors, images)
        near = self._log_near_loss(anchors, images)
        if self.settings.rank_power == 0:
            return near
        return near + self.far_weight * self._log_far_loss(anchors, images)

    def _log_far_loss(self, anchors, images):
        references = self._draw(self.settings.n_references)
        seen = pairwise_dissimilarity(
            images, self.student(self.take(references)), metric=self.settings.metric
        )
        target = percentile_rank(self.teacher.dissimilarities(anchors, references))
        return rank_loss(seen, target).mean().clamp(min=_SMALLEST_LOSS).log()

    def _log_near_loss(self, anchors, images):
        n_listed = self.neighbors.shape[1]
        shape = (len(anchors), min(_NEAR_REFERENCES, n_listed))
        drawn = torch.randint(n_listed, shape, generator=self.generator)
        places = drawn.to(self.device)
        references = self.neighbors[anchors[:, None], places]
        near_images = self.student(self.take(references.flatten())).view(*shape, -1)
        seen = pairwise_dissimilarity(
            images[:, None], near_images, metric=self.settings.metric
        ).squeeze(1)
        target = self.near_targets[anchors[:, None], places]
        return rank_correlation_loss(seen, target).mean().clamp(min=_SMALLEST_LOSS).log()

    def _draw(self, size):
        """Numbers of random rows, drawn with replacement."""
        drawn = torch.multinomial(
            self.sample_weight, size, replacement=True, generator=self.generator
        )
        return drawn.to(self.device)


def _odds(rank_power):
    """Weight of the far loss against the near one."""
    return _FAR_WEIGHT * rank_power / (1 - rank_power) if rank_power < 1 else math.inf
