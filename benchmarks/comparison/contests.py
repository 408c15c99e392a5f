"""The paper's comparison: losses that see no labels, each on the same students of three sizes."""

from collections.abc import Callable
from functools import cache, partial
from itertools import product
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.datasets import load_digits
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.pipeline import make_pipeline
from torch import nn
from torch.nn import functional

from comparison.cases import Case, Rows
from comparison.judging import judge
from comparison.training import CPU, ClosedForm, Schedule, descend, unit_rows, worth
from skperco._rows import RowTaker
from skperco.datasets import load_wordnet_glosses
from skperco.students import LinearStudent, embed

# In units of the size of a parameter.
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_HELD_OUT = 0.1

_GLOSSES_TO_FIT = 3500
_TEXT_COMPONENTS = 64
# Share of a text's pieces that a step hides, as the distiller does.
_HIDDEN = 0.15

_DIGITS_TO_FIT = 1200
_IMAGE_COMPONENTS = 16
_TEACHER_STEPS = 300
_TEACHER_BATCH = 128


class Contest(NamedTuple):
    """A student of one size, and what it is to learn.

    Attributes
    ----------
    kind : str
        What is seen.
    case : Case
    new_student : callable
        Rows to fit and a seed, to the student that every loss starts with.
    schedule : Schedule
        Its seed is replaced.
    hidden : float
        Share of the entries of an input that a step hides.
    """

    kind: str
    case: Case
    new_student: Callable
    schedule: Schedule
    hidden: float = 0.0

    @property
    def size(self):
        """Number of the student's parameters."""
        return sum(one.numel() for one in self.new_student(self.case.fit, 0).parameters())


def run(contest, new_losses, n_seeds):
    """Figures for each seed of the best of some losses at its best rate.

    They are chosen on rows that are held out, with the first seed.
    """
    rows = contest.case.fit
    order = np.random.default_rng(0).permutation(len(rows.teacher))
    n_held_out = round(_HELD_OUT * len(order))
    held_out, fitted = rows.take(order[:n_held_out]), rows.take(order[n_held_out:])

    def worth_of(choice):
        return worth(held_out.teacher, _trained(contest, fitted, *choice, 0)(held_out.X))

    best = max(product(new_losses, RATES), key=worth_of)
    return [judge(contest.case, _trained(contest, rows, *best, seed)) for seed in range(n_seeds)]


def _trained(contest, rows, new_loss, rate, seed):
    """A student trained on rows: a function that embeds."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student = contest.new_student(rows, seed).train()
        generator = torch.Generator().manual_seed(seed)
        take = RowTaker(rows.X, CPU, contest.hidden, generator)
        teacher = unit_rows(torch.from_numpy(rows.teacher).float())
        schedule = contest.schedule._replace(seed=seed)
        descend(student, take, teacher, new_loss, rate, schedule)
    return partial(embed, student, device=CPU, unit_norm=True)


def _text_contest(n_hashes, kind, new_student, n_steps):
    """Glosses by a sum of embeddings of hashed pieces of words."""
    case = _hashed_glosses(n_hashes)
    return Contest(kind, case, new_student, Schedule(n_steps, 512, 0), _HIDDEN)


def _hashed_glosses(n_hashes):
    glosses = load_wordnet_glosses()
    vectorizer = make_pipeline(
        HashingVectorizer(
            n_features=n_hashes,
            analyzer="char_wb",
            ngram_range=(3, 5),
            alternate_sign=False,
            norm=None,
            dtype=np.float32,
        ),
        TfidfTransformer(sublinear_tf=True),
    ).fit(glosses.text[:_GLOSSES_TO_FIT])
    X = sp.csr_array(vectorizer.transform(glosses.text))
    return _case(Rows(X, glosses.data, glosses.target), _GLOSSES_TO_FIT)


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
    return Contest("digits", _digits(), new_student, Schedule(600, 256, 0))


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
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    X = torch.from_numpy(images[order].reshape(-1, 1, 8, 8) / images.max()).float()
    features = _image_teacher(X[:_DIGITS_TO_FIT], torch.from_numpy(labels[order[:_DIGITS_TO_FIT]]))
    with torch.no_grad():
        rows = Rows(X.numpy(), features(X).numpy(), labels[order])
    return _case(rows, _DIGITS_TO_FIT)


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


def _case(rows, n_fit):
    parts = slice(n_fit), slice(n_fit, None)
    return Case("", "cosine", *(rows.take(part) for part in parts), compression=False)


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
