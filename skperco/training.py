"""Refinement by rank: draw anchors and references, and step."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch

from skperco.dissimilarity import (
    listed_dissimilarity,
    pairwise_dissimilarity,
    row_centered,
    unit_rows,
)
from skperco.losses import rank_correlation_loss, rank_loss
from skperco.ranking import percentile_rank
from skperco.students import scaled_parameters

_FAR_POWER = 1.4
# The far loss takes the first so many anchors of a step: sorts are dear, and what random
# references teach hardly differs from anchor to anchor.
_FAR_ANCHORS = 256
# References that one step draws from the list of an anchor's nearest.
_NEAR_REFERENCES = 16
# A loss below this counts as zero: its logarithm must not outweigh the other loss.
_SMALLEST_LOSS = 1e-6
_MOMENTUM = 0.9
_AVERAGING = 0.95
_TINY = 1e-30


# Dissimilarities that are, but for a factor, squared distances once the images are normalised,
# which is cheaper before they are paired. Neither loss depends on a factor.
_NORMALIZED = {
    "cosine": (unit_rows, "sqeuclidean"),
    "correlation": (lambda images: unit_rows(row_centered(images)), "sqeuclidean"),
}


class Settings(NamedTuple):
    """What the distiller's parameters say about the refinement."""

    metric: str | Callable
    rank_power: float
    batch_size: int
    n_references: int
    n_neighbors: int
    learning_rate_init: float
    max_iter: int
    far_weight: float = 1.8


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
    the far one times a weight.

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
        self.normalize, self.metric = _NORMALIZED.get(
            settings.metric, (lambda images: images, settings.metric)
        )
        self.neighbors, self.near_targets = teacher.nearest(
            min(settings.n_neighbors, len(teacher) - 1)
        )
        self.far_weight = self._far_weight()
        self.parameters = [_Parameter(*scaled) for scaled in scaled_parameters(student)]

    def run(self):
        """Take all steps, and yield the loss before each, a tensor of shape ()."""
        self.student.train()
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

    @torch.no_grad()
    def blend(self, fraction, student=None):
        """Put the student, or its copy, between the start (0) and the average of the steps (1)."""
        values = scaled_parameters(self.student if student is None else student)
        for parameter, (value, _) in zip(self.parameters, values, strict=True):
            value.copy_(torch.lerp(parameter.start, parameter.average, fraction))

    def _descend(self, loss, rate):
        """One step of normalised gradient descent with momentum (Cutkosky and Mehta, 2020).

        One norm for all of a parameter: what few rows have in common, such as a rare word,
        moves less than what many share, and is not overfitted.
        """
        values = [parameter.value for parameter in self.parameters]
        # A module may have parameters that it does not use.
        gradients = torch.autograd.grad(loss, values, allow_unused=True, materialize_grads=True)
        with torch.no_grad():
            for parameter, gradient in zip(self.parameters, gradients, strict=True):
                direction = gradient / gradient.norm().clamp(min=_TINY)
                parameter.velocity.lerp_(direction, 1 - _MOMENTUM)
                parameter.value.sub_(parameter.velocity, alpha=rate * parameter.scale)
                parameter.average.lerp_(parameter.value, 1 - _AVERAGING)

    def _loss(self):
        anchors = self._draw(self.settings.batch_size)
        if self.settings.rank_power == 1:
            return self._log_far_loss(anchors[:_FAR_ANCHORS])
        near = self._log_near_loss(anchors)
        if self.settings.rank_power == 0:
            return near
        return near + self.far_weight * self._log_far_loss(anchors[:_FAR_ANCHORS])

    @torch.no_grad()
    def _far_weight(self):
        """The more of the neighbours the start keeps, the dearer is the order of the others.

        The power was measured, with the factor in the settings, on text at 16 and 64 dimensions,
        where it leaves the closed form's coherence as it is.
        """
        if self.settings.rank_power == 1:
            return math.inf
        odds = self.settings.rank_power / (1 - self.settings.rank_power)
        start = self._log_near_loss(self._draw(self.settings.batch_size)).item()
        return self.settings.far_weight * odds * max(-start, 0) ** _FAR_POWER

    def _log_far_loss(self, anchors):
        references = self._draw(self.settings.n_references)
        images, (of_anchors, of_references) = self._images(anchors, references)
        seen = pairwise_dissimilarity(images[of_anchors], images[of_references], metric=self.metric)
        target = percentile_rank(self.teacher.dissimilarities(anchors, references))
        return rank_loss(seen, target, exact=False).mean().clamp(min=_SMALLEST_LOSS).log()

    def _log_near_loss(self, anchors):
        n_listed = self.neighbors.shape[1]
        shape = (len(anchors), min(_NEAR_REFERENCES, n_listed))
        places = torch.randint(n_listed, shape, generator=self.generator).to(self.device)
        places += n_listed * anchors[:, None]
        images, numbers = self._images(anchors, self.neighbors.take(places))
        seen = listed_dissimilarity(images, *numbers, metric=self.metric)
        target = self.near_targets.take(places)
        return rank_correlation_loss(seen, target).mean().clamp(min=_SMALLEST_LOSS).log()

    def _images(self, *numbers):
        """Images of rows, each computed once, and where those of each number are."""
        flat = torch.cat([part.flatten() for part in numbers])
        rows, places = flat.unique(return_inverse=True)
        places = places.split([part.numel() for part in numbers])
        places = [part.view(of.shape) for part, of in zip(places, numbers, strict=True)]
        return self.normalize(self.student(self.take(rows))), places

    def _draw(self, size):
        """Numbers of random rows, drawn with replacement."""
        drawn = torch.multinomial(
            self.sample_weight, size, replacement=True, generator=self.generator
        )
        return drawn.to(self.device)
