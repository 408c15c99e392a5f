"""Training of students by any loss, from the distiller's initialization."""

import copy
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional

from rivals.evaluation import validation_score
from skperco.students._builtin import scaled_parameters
from skperco.utils._chunking import RowTaker

# Learning rates to choose from, relative to the scale of a parameter.
RATES = (0.001, 0.003, 0.01)
CPU = torch.device("cpu")
_VALIDATION_FRACTION = 0.1
_MOST_HELD_OUT = 1000


class Schedule(NamedTuple):
    """Number of steps, rows in a batch, and the seed of the batches and of the held-out rows."""

    steps: int
    batch_size: int
    seed: int


def hold_out(rows, seed):
    """Split rows at random into a validation set and a training set."""
    n_rows = len(rows.teacher)
    order = np.random.default_rng(seed).permutation(n_rows)
    n_held_out = min(round(_VALIDATION_FRACTION * n_rows), _MOST_HELD_OUT)
    return rows.take(order[:n_held_out]), rows.take(order[n_held_out:])


def tune_and_train(rows, initialize, new_loss, schedule):
    """Choose the learning rate on held-out rows, then train on all rows.

    Parameters
    ----------
    rows : Rows
    initialize : callable
        Takes rows and returns a CoherenceDistiller that is fitted to them with max_iter=0.
    new_loss : callable
        Takes the initial embeddings and the teacher's rows, and returns a loss: a function of the
        embeddings and the teacher's rows of a batch.
    schedule : Schedule

    Returns
    -------
    embed : callable
        Takes rows of X and returns their embeddings by the trained student.
    """
    held_out, fitted = hold_out(rows, schedule.seed)
    initial = initialize(fitted)

    def score(rate):
        embed = _trained(fitted, initial, new_loss, rate, schedule)
        return validation_score(held_out.teacher, embed(held_out.X), metric=initial.metric)

    best = max(RATES, key=score)
    return _trained(rows, initialize(rows), new_loss, best, schedule)


def _trained(rows, initial, new_loss, rate, schedule):
    """Train a copy of an initial distiller's student, and return its method `transform`."""
    distiller = copy.deepcopy(initial)
    teacher = _teacher_rows(rows.teacher, initial.metric)
    train(distiller.student_, RowTaker(rows.X, CPU), teacher, new_loss, rate, schedule)
    return distiller.transform


def train(student, take, teacher, new_loss, rate, schedule):
    """Train a student in place.

    Parameters
    ----------
    student : torch.nn.Module
    take : callable
        Takes indices of rows and returns the input of the student.
    teacher : torch.Tensor of shape (n_rows, n_teacher_features)
    new_loss : callable
        As for `tune_and_train`.
    rate : float
        Learning rate, relative to the scale of each parameter.
    schedule : Schedule
    """
    student.train()
    loss = new_loss(student(take(torch.arange(len(teacher)))).detach(), teacher)
    optimizer, decay = _optimizer(student, loss, rate, schedule.steps)
    generator = torch.Generator().manual_seed(schedule.seed)
    for _ in range(schedule.steps):
        rows = torch.randperm(len(teacher), generator=generator)[: schedule.batch_size]
        optimizer.zero_grad()
        loss(student(take(rows)), teacher[rows]).backward()
        optimizer.step()
        decay.step()


def _teacher_rows(rows, metric):
    """Rows of unit norm under cosine; centered otherwise, as in the student's initialization."""
    rows = torch.from_numpy(rows).float()
    return unit_rows(rows) if metric == "cosine" else rows - rows.mean(0)


def unit_rows(rows):
    return functional.normalize(rows, dim=1)


def _optimizer(student, loss, rate, steps):
    """Adam with cosine decay; the learning rate is relative to the scale of a parameter."""
    scaled = [(value, scale / value.numel() ** 0.5) for value, scale in scaled_parameters(student)]
    if isinstance(loss, torch.nn.Module):
        scaled += [(value, _scale(value)) for value in loss.parameters()]
    groups = [{"params": [value], "lr": rate * scale} for value, scale in scaled]
    optimizer = torch.optim.Adam(groups)
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)


def _scale(parameter):
    return parameter.detach().square().mean().sqrt().item()
