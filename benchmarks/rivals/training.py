"""A plain trainer, which gives every loss the distiller's student, start, rows and steps."""

from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional

from skperco import CoherenceDistiller, neighbor_recall_score, perception_coherence_score
from skperco.students._builtin import scaled_parameters
from skperco.training._student_fit import Fit
from skperco.training._teacher import Pool
from skperco.utils._chunking import RowTaker

# Learning rates to choose from, in units of the size of a parameter.
RATES = (0.001, 0.003, 0.01)
CPU = torch.device("cpu")


class ClosedForm(CoherenceDistiller):
    """The distiller's start, and the rows that it would hold out of its first fit."""

    def _decide(self, fitted, pool, held_out, *args):
        self.fitted_, self.held_out_ = fitted.take(fitted.rows), held_out
        self.decision_ = super()._decide(fitted, pool, held_out, *args)
        return self.decision_

    def _last_student(self, samples, *args):
        self.samples_ = samples
        return super()._last_student(samples, *args)

    def start_on(self, samples):
        """A Fit to the samples, before its first step."""
        pool, state = Pool(samples, CPU), np.random.RandomState(0)
        return Fit(samples, pool, self.decision_.plan, state, alpha=self.decision_.alpha)


class Schedule(NamedTuple):
    """How long to train, and what to draw for it."""

    steps: int
    batch_size: int
    seed: int


def train(start, new_loss, schedule):
    """Train from the start with each learning rate, and with the best one on all rows.

    Parameters
    ----------
    start : ClosedForm
        Fitted, without a step. Its held-out rows choose the learning rate, by what the
        distiller's default looks for: coherence and recall.
    new_loss : callable
        Images and teacher's rows, which the loss may start from, to a loss of a batch.
    schedule : Schedule

    Returns
    -------
    start : ClosedForm
        With the trained student.
    """

    def worth_of(rate):
        return _worth(start, _train(start, start.fitted_, new_loss, rate, schedule))

    best = max(RATES, key=worth_of)
    start.student_ = _train(start, start.samples_, new_loss, best, schedule).student
    return start


def _worth(start, fit):
    """Coherence plus recall of the rows that were held out of the fit."""
    rows = start.held_out_
    metrics = {"metric": start.metric, "teacher_metric": rows.teacher_metric}
    return worth(rows.representation, fit.embed(rows.X), **metrics)


def worth(teacher, student, **metrics):
    """What a learning rate is chosen by: coherence plus recall."""
    scores = perception_coherence_score, neighbor_recall_score
    return sum(score(teacher, student, **metrics) for score in scores)


def _train(start, samples, new_loss, rate, schedule):
    """A Fit to the samples, after all steps."""
    fit = start.start_on(samples)
    take = RowTaker(samples.X, CPU)
    descend(fit.student, take, _teacher_rows(samples, start.metric), new_loss, rate, schedule)
    return fit


def descend(student, take, teacher, new_loss, rate, schedule):
    """Train a student in place.

    Parameters
    ----------
    student : torch.nn.Module
    take : callable
        Numbers of rows to what the student sees of them.
    teacher : torch.Tensor
        What the teacher sees of all rows.
    new_loss : callable
        As for `train`.
    rate : float
        Learning rate, in units of the size of each parameter.
    schedule : Schedule
    """
    everyone = torch.arange(len(teacher))
    loss = new_loss(student(take(everyone)).detach(), teacher)
    optimizer, decay = _optimizer(student, loss, rate, schedule.steps)
    generator = torch.Generator().manual_seed(schedule.seed)
    for _ in range(schedule.steps):
        rows = torch.randperm(len(teacher), generator=generator)[: schedule.batch_size]
        optimizer.zero_grad()
        loss(student(take(rows)), teacher[rows]).backward()
        optimizer.step()
        decay.step()


def _teacher_rows(samples, metric):
    """Teacher's rows of unit norm under cosine; otherwise around their mean, as the student's."""
    rows = torch.from_numpy(samples.representation).float()
    return unit_rows(rows) if metric == "cosine" else rows - rows.mean(0)


def unit_rows(rows):
    return functional.normalize(rows, dim=1)


def _optimizer(student, loss, rate, steps):
    """Adam with cosine decay, its rate measured by the size that a parameter has or may have."""
    scaled = [(value, scale / value.numel() ** 0.5) for value, scale in scaled_parameters(student)]
    if isinstance(loss, torch.nn.Module):
        scaled += [(value, _size(value)) for value in loss.parameters()]
    optimizer = torch.optim.Adam([{"params": [value], "lr": rate * size} for value, size in scaled])
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)


def _size(parameter):
    return parameter.detach().square().mean().sqrt().item()
