"""A plain trainer, which gives every loss the distiller's student, start, rows and steps."""

import copy
from typing import NamedTuple

import torch
from torch.nn import functional

from skperco import CoherenceDistiller, neighbor_recall_score, perception_coherence_score
from skperco._rows import RowTaker

# Learning rates to choose from, in units of the root mean square of a parameter.
RATES = (0.001, 0.003, 0.01)
_CPU = torch.device("cpu")


class ClosedForm(CoherenceDistiller):
    """The distiller's start, with the rows it was fitted on and those that were held out.

    Like the distiller's own student, a rival trains from the start that has not seen the
    held-out rows, and at the end gets what they change in that start.
    """

    def _split(self, *args):
        self.fitted_, self.held_out_ = super()._split(*args)
        return self.fitted_, self.held_out_

    def _start_again(self, samples, start, *args):
        self.starts_ = start, super()._start_again(samples, start, *args)
        return self.starts_[1]

    def forget_held_out(self):
        self.student_.set_linear(self.starts_[0])
        return self

    def give_back_held_out(self):
        self.student_.set_linear(self.student_.linear_map().plus_change(*self.starts_))
        return self


class Schedule(NamedTuple):
    """How long to train, and what to draw for it."""

    steps: int
    batch_size: int
    seed: int


def train(start, new_loss, schedule):
    """Train a copy of the start with each learning rate, and keep the best.

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
    distiller : ClosedForm
        With the trained student.
    """
    trained = [_train_at(start, new_loss, rate, schedule) for rate in RATES]
    return max(trained, key=_worth).give_back_held_out()


def _worth(distiller):
    """Coherence plus recall of the rows that were held out of the fit."""
    rows = distiller.held_out_
    pair = rows.representation, distiller.transform(rows.X)
    return perception_coherence_score(
        *pair, metric=distiller.metric, teacher_metric=rows.teacher_metric
    ) + neighbor_recall_score(*pair, metric=distiller.metric, teacher_metric=rows.teacher_metric)


def _train_at(start, new_loss, rate, schedule):
    distiller = copy.deepcopy(start).forget_held_out()
    take = RowTaker(distiller.fitted_.X, _CPU)
    teacher = _teacher_rows(distiller)
    loss = new_loss(distiller.student_(take(torch.arange(len(teacher)))).detach(), teacher)
    optimizer, decay = _optimizer([distiller.student_, loss], rate, schedule.steps)
    generator = torch.Generator().manual_seed(schedule.seed)
    for _ in range(schedule.steps):
        rows = torch.randperm(len(teacher), generator=generator)[: schedule.batch_size]
        optimizer.zero_grad()
        loss(distiller.student_(take(rows)), teacher[rows]).backward()
        optimizer.step()
        decay.step()
    return distiller


def _teacher_rows(distiller):
    """Teacher's rows of unit norm under cosine; otherwise around their mean, as the student's."""
    rows = torch.from_numpy(distiller.fitted_.representation).float()
    return unit_rows(rows) if distiller.metric == "cosine" else rows - rows.mean(0)


def unit_rows(rows):
    return functional.normalize(rows, dim=1)


def _optimizer(modules, rate, steps):
    """Adam with cosine decay, its rate measured by the size of each parameter."""
    parameters = [
        parameter
        for module in modules
        if isinstance(module, torch.nn.Module)
        for parameter in module.parameters()
    ]
    groups = [{"params": [value], "lr": rate * _size(value)} for value in parameters]
    optimizer = torch.optim.Adam(groups)
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)


def _size(parameter):
    return parameter.detach().square().mean().sqrt().item()
