"""Samples: rows to learn from, and what the teacher makes of them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from skperco._validation import (
    check_embeddings,
    check_magnitude,
    check_same_rows,
    check_sample_weight,
)
from skperco.sparse import check_sparse_metric
from skperco.starts import ANGULAR_METRICS, teacher_coordinates


class Samples(NamedTuple):
    """Rows to learn from, their weights, and what the teacher makes of them."""

    X: np.ndarray
    weight: np.ndarray
    teacher: np.ndarray | None
    teacher_metric: str | Callable
    targets: np.ndarray | None = None

    @property
    def n_rows(self):
        """Number of samples."""
        return len(self.weight)

    @property
    def representation(self):
        """What the teacher sees: X itself if there is no other."""
        return self.X if self.teacher is None else self.teacher

    def with_targets(self, random_state):
        """With the coordinates that a regression onto the teacher aims at, if there is one."""
        if self.teacher is None:
            return self
        targets = teacher_coordinates(self.teacher, self.teacher_metric, random_state)
        return self._replace(targets=targets)

    def take(self, rows):
        """Some of the samples, by their numbers."""
        precomputed = self.teacher_metric == "precomputed"
        return self._replace(
            X=self.X[rows],
            weight=self.weight[rows],
            teacher=_taken(self.teacher, np.ix_(rows, rows) if precomputed else rows),
            targets=_taken(self.targets, rows),
        )


def _taken(array, rows):
    return None if array is None else array[rows]


def check_samples(X, teacher, teacher_metric, sample_weight, *, least):
    """Samples of positive weight, checked.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
        Checked already.
    teacher : array-like of shape (n_samples, n_teacher_features) or None
        None if X is its own teacher.
    teacher_metric : str or callable
    sample_weight : array-like of shape (n_samples,) or None
    least : int
        How many there must be.

    Returns
    -------
    samples : Samples
    """
    if X.dtype.kind == "f":
        check_magnitude(X, "X")
    weight = check_sample_weight(sample_weight, X.shape[0])
    if np.count_nonzero(weight) < least:
        raise ValueError(
            f"sample_weight must be positive for at least {least} rows, "
            f"got {np.count_nonzero(weight)}."
        )
    if teacher is None:
        _check_own_teacher(X, teacher_metric)
    else:
        teacher = _checked_teacher(teacher, teacher_metric, X)
    samples = Samples(X, weight, teacher, teacher_metric)
    return samples if weight.all() else samples.take(np.flatnonzero(weight))


def _check_own_teacher(X, metric):
    if metric == "precomputed":
        raise ValueError(
            "teacher_metric='precomputed' needs the teacher's table of dissimilarities: "
            "give it as teacher_embeddings."
        )
    if X.ndim != 2:
        raise ValueError(
            f"X is no teacher if its rows are not vectors, got shape {X.shape}: give "
            "teacher_embeddings."
        )
    if sp.issparse(X):
        check_sparse_metric(metric, "X as its own teacher")


def _checked_teacher(teacher, metric, X):
    teacher = check_embeddings(teacher, "teacher_embeddings", metric=metric)
    check_same_rows(X, teacher, "X", "teacher_embeddings")
    check_magnitude(teacher, "teacher_embeddings")
    if metric in ANGULAR_METRICS and teacher.shape[1] == 1:
        raise ValueError(
            f"teacher_embeddings has one column, of which {metric!r} sees only the sign: give "
            "labels as a one-dimensional y, which is no teacher, and numbers with another "
            "teacher_metric."
        )
    return teacher
