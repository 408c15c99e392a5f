"""Experiments that compare losses without labels on the same students of three sizes."""

import copy
from collections.abc import Callable
from functools import cache, partial
from itertools import product
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from rivals.cases import (
    DIGITS_TO_FIT,
    Case,
    Rows,
    character_ngrams,
    shuffled_digits,
    vectorized_glosses,
)
from rivals.evaluation import evaluate, validation_score
from rivals.training import CPU, Schedule, hold_out, train, unit_rows
from skperco import CoherenceDistiller
from skperco.students._builtin import LinearStudent
from skperco.students._embed import embed
from skperco.utils._chunking import RowTaker

# Learning rates to choose from, relative to the scale of a parameter.
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_TEXT_COMPONENTS = 64
# The default of the distiller.
_TEXT_DROPOUT = 0.15

_IMAGE_COMPONENTS = 16
_TEACHER_STEPS = 300
_TEACHER_BATCH = 128


class Experiment(NamedTuple):
    """A student of one size, the data and the training, which are the same for all losses.

    Attributes
    ----------
    case : Case
    new_student : callable
        Takes training rows and a seed, and returns the initial student.
    schedule : Schedule
        Its seed is replaced by that of each fit.
    dropout : float
        Fraction of the features that are set to zero in a step.
    """

    case: Case
    new_student: Callable
    schedule: Schedule
    dropout: float = 0.0


class Initialization(NamedTuple):
    """An untrained student, its seed, and the state of the random generator after its creation."""

    student: nn.Module
    seed: int
    random_state: torch.Tensor


def run(experiment, new_losses, n_seeds):
    """Run one experiment.

    The variant of the loss and the learning rate are chosen on held-out rows, with the first seed.

    Parameters
    ----------
    experiment : Experiment
    new_losses : list of callable
        Variants of one loss, each as for :func:`rivals.training.tune_and_train`.
    n_seeds : int

    Returns
    -------
    n_parameters : int
        Size of the student.
    scores : list of dict
        One for each seed.
    """
    rows = experiment.case.fit
    held_out, fitted = hold_out(rows, seed=0)
    initial = _initialize(experiment, fitted, 0)

    def score(choice):
        embed = _trained(experiment, fitted, initial, *choice)
        return validation_score(held_out.teacher, embed(held_out.X))

    best = max(product(new_losses, RATES), key=score)
    scores = []
    for seed in range(n_seeds):
        embed = _trained(experiment, rows, _initialize(experiment, rows, seed), *best)
        scores.append(evaluate(experiment.case, embed))
    return sum(one.numel() for one in initial.student.parameters()), scores


def _initialize(experiment, rows, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student = experiment.new_student(rows, seed)
        return Initialization(student, seed, torch.get_rng_state())


def _trained(experiment, rows, initial, new_loss, rate):
    """Train a copy of the initial student, and return a function that embeds rows with it."""
    student = copy.deepcopy(initial.student)
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(initial.random_state)
        generator = torch.Generator().manual_seed(initial.seed)
        take = RowTaker(rows.X, CPU, experiment.dropout, generator)
        teacher = unit_rows(torch.from_numpy(rows.teacher).float())
        schedule = experiment.schedule._replace(seed=initial.seed)
        train(student, take, teacher, new_loss, rate, schedule)
    return partial(embed, student, device=CPU, unit_norm=True)


def _text_experiment(n_hashes, kind, new_student, n_steps):
    """Glosses, embedded by a linear map of hashed character n-grams."""
    case = vectorized_glosses(kind, character_ngrams(n_hashes))
    return Experiment(case, new_student, Schedule(n_steps, 512, 0), _TEXT_DROPOUT)


def _random(rows, _seed):
    n_hashes = rows.X.shape[1]
    weight = torch.randn(_TEXT_COMPONENTS, n_hashes)
    return LinearStudent(weight / _TEXT_COMPONENTS**0.5, torch.zeros(_TEXT_COMPONENTS))


def _regressed(rows, seed):
    distiller = CoherenceDistiller(_TEXT_COMPONENTS, max_iter=0, random_state=seed, device=CPU)
    return distiller.fit(rows.X, rows.teacher).student_


def _image_experiment(n_channels):
    """Digits, embedded by a small convolutional network with random initialization."""
    new_student = partial(_convolutional, n_channels)
    return Experiment(_digits(), new_student, Schedule(600, 256, 0))


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
    """Images of digits; the teacher is a larger network that was trained on their labels."""
    images, labels = shuffled_digits()
    X = torch.from_numpy(images.reshape(-1, 1, 8, 8) / images.max())
    features = _image_teacher(X[:DIGITS_TO_FIT], torch.from_numpy(labels[:DIGITS_TO_FIT]))
    with torch.no_grad():
        rows = Rows(X.numpy(), features(X).numpy(), labels)
    return Case("digits", "cosine", *rows.split(DIGITS_TO_FIT), compression=False)


def _image_teacher(images, labels):
    """A trained classifier of digits without its last layer."""
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


EXPERIMENTS = {
    "digits-2": partial(_image_experiment, 2),
    "digits-4": partial(_image_experiment, 4),
    "digits-8": partial(_image_experiment, 8),
    "glosses-500": partial(_text_experiment, 500, "glosses", _random, 400),
    "glosses-2000": partial(_text_experiment, 2000, "glosses", _random, 400),
    "glosses-8000": partial(_text_experiment, 8000, "glosses", _random, 400),
    "regressed-500": partial(_text_experiment, 500, "glosses from ridge", _regressed, 300),
    "regressed-2000": partial(_text_experiment, 2000, "glosses from ridge", _regressed, 300),
    "regressed-8000": partial(_text_experiment, 8000, "glosses from ridge", _regressed, 300),
}
