"""Losses that use no labels, each on the same students of three sizes."""

import copy
from collections.abc import Callable
from functools import cache, partial
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from rivals.cases import (
    DIGITS_TO_FIT,
    Case,
    Rows,
    pieces_of_words,
    seen_glosses,
    shuffled_digits,
)
from rivals.judging import judge
from rivals.training import CPU, ClosedForm, Schedule, descend, unit_rows, worth
from skperco.students._builtin import LinearStudent
from skperco.students._embed import embed
from skperco.utils._chunking import RowTaker

# In units of the size of a parameter.
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_HELD_OUT = 0.1

_TEXT_COMPONENTS = 64
# Share of a text's pieces that a step hides, as the distiller does.
_HIDDEN = 0.15

_IMAGE_COMPONENTS = 16
_TEACHER_STEPS = 300
_TEACHER_BATCH = 128


class Contest(NamedTuple):
    """A student of one size, and what it is to learn.

    Attributes
    ----------
    case : Case
        Named by what is seen.
    new_student : callable
        Rows to fit and a seed, to the student that every loss starts with.
    schedule : Schedule
        Its seed is replaced.
    hidden : float
        Share of the entries of an input that a step hides.
    """

    case: Case
    new_student: Callable
    schedule: Schedule
    hidden: float = 0.0


class Start(NamedTuple):
    """A student before its first step, its seed, and what random numbers come after."""

    student: nn.Module
    seed: int
    random_state: torch.Tensor


def run(contest, new_losses, n_seeds):
    """Size of the student, and figures for each seed of the best of some losses at its best rate.

    They are chosen on rows that are held out, with the first seed.
    """
    rows = contest.case.fit
    order = np.random.default_rng(0).permutation(len(rows.teacher))
    n_held_out = round(_HELD_OUT * len(order))
    held_out, fitted = rows.take(order[:n_held_out]), rows.take(order[n_held_out:])

    start = _start(contest, fitted, 0)

    def worth_of(choice):
        return worth(held_out.teacher, _trained(contest, fitted, start, *choice)(held_out.X))

    best = max(product(new_losses, RATES), key=worth_of)
    starts = [_start(contest, rows, seed) for seed in range(n_seeds)]
    figures = [judge(contest.case, _trained(contest, rows, one, *best)) for one in starts]
    return sum(one.numel() for one in start.student.parameters()), figures


def _start(contest, rows, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Start(contest.new_student(rows, seed), seed, torch.get_rng_state())


def _trained(contest, rows, start, new_loss, rate):
    """A student trained on rows: a function that embeds."""
    student = copy.deepcopy(start.student).train()
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(start.random_state)
        generator = torch.Generator().manual_seed(start.seed)
        take = RowTaker(rows.X, CPU, contest.hidden, generator)
        teacher = unit_rows(torch.from_numpy(rows.teacher).float())
        schedule = contest.schedule._replace(seed=start.seed)
        descend(student, take, teacher, new_loss, rate, schedule)
    return partial(embed, student, device=CPU, unit_norm=True)


def _text_contest(n_hashes, kind, new_student, n_steps):
    """Glosses by a sum of embeddings of hashed pieces of words."""
    case = seen_glosses(kind, pieces_of_words(n_hashes))
    return Contest(case, new_student, Schedule(n_steps, 512, 0), _HIDDEN)


def _random(rows, _seed):
    n_hashes = rows.X.shape[1]
    weight = torch.randn(_TEXT_COMPONENTS, n_hashes)
    return LinearStudent(weight / _TEXT_COMPONENTS**0.5, torch.zeros(_TEXT_COMPONENTS))


def _regressed(rows, seed):
    start = ClosedForm(_TEXT_COMPONENTS, max_iter=0, random_state=seed, device=CPU)
    return start.fit(rows.X, rows.teacher).student_


def _image_contest(n_channels):
    """Digits by a small convolutional network, which starts at random."""
    new_student = partial(_convolutional, n_channels)
    return Contest(_digits(), new_student, Schedule(600, 256, 0))


def _convolutional(n_channels, _rows, _seed):
    return nn.Sequential(
        *_block(1, n_channels),
        nn.MaxPool2d(2),
        *_block(n_channels, 2 * n_channels),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * n_channels, _IMAGE_COMPONENTS),
    )


def _block(n_in, n_out):
    return nn.Conv2d(n_in, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU()


@cache
def _digits():
    """Digits as images, with the features of a larger network that has learned their labels."""
    images, labels = shuffled_digits()
    X = torch.from_numpy(images.reshape(-1, 1, 8, 8) / images.max())
    features = _image_teacher(X[:DIGITS_TO_FIT], torch.from_numpy(labels[:DIGITS_TO_FIT]))
    with torch.no_grad():
        rows = Rows(X.numpy(), features(X).numpy(), labels)
    return Case("digits", "cosine", *rows.cut(DIGITS_TO_FIT), compression=False)


def _image_teacher(images, labels):
    """The layers before the last one of a network trained to tell the digits apart."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        features = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(0.25),
            nn.Flatten(),
            nn.Linear(1024, 128),
            nn.ReLU(),
        )
        network = nn.Sequential(features, nn.Linear(128, 10))
        optimizer = torch.optim.Adam(network.parameters())
        for _ in range(_TEACHER_STEPS):
            batch = torch.randint(len(images), (_TEACHER_BATCH,))
            optimizer.zero_grad()
            functional.cross_entropy(network(images[batch]), labels[batch]).backward()
            optimizer.step()
    return features.eval()


CONTESTS = {
    "digits-2": partial(_image_contest, 2),
    "digits-4": partial(_image_contest, 4),
    "digits-8": partial(_image_contest, 8),
    "glosses-500": partial(_text_contest, 500, "glosses", _random, 400),
    "glosses-2000": partial(_text_contest, 2000, "glosses", _random, 400),
    "glosses-8000": partial(_text_contest, 8000, "glosses", _random, 400),
    "regressed-500": partial(_text_contest, 500, "glosses from ridge", _regressed, 300),
    "regressed-2000": partial(_text_contest, 2000, "glosses from ridge", _regressed, 300),
    "regressed-8000": partial(_text_contest, 8000, "glosses from ridge", _regressed, 300),
}
