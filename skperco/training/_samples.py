"""Samples: rows of the input, their weights, and the teacher's representation of them."""

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from skperco.dissimilarity._dense import ANGULAR_METRICS
from skperco.utils._chunking import MappedRows, is_mapped, take_rows
from skperco.utils._types import Metric, Rows
from skperco.utils._validation import (
    check_embeddings,
    check_magnitude,
    check_same_rows,
    check_sample_weight,
    check_sparse_metric,
)


class Samples(NamedTuple):
    """Rows of the input, their weights, and the teacher's representation of them.

    A row of weight zero is not a sample. It may remain in the arrays, which saves a copy.

    Attributes
    ----------
    X : ndarray or CSR of shape (n_rows, ...)
    weight : ndarray of shape (n_rows,)
    teacher : ndarray or CSR of shape (n_rows, n_teacher_features) or None
        None if X is its own teacher.
    teacher_metric : str or callable
    targets : ndarray or MappedRows of shape (n_rows, n_targets) or None
        Targets of a regression onto the teacher.
    """

    X: Rows
    weight: NDArray
    teacher: Rows | None
    teacher_metric: Metric
    targets: Any = None

    @property
    def n_rows(self) -> int:
        """Number of samples."""
        return int(np.count_nonzero(self.weight))

    @property
    def rows(self) -> NDArray:
        """Indices of the rows with positive weight."""
        return np.flatnonzero(self.weight)

    @property
    def representation(self) -> Rows:
        """The teacher's representation: X itself if there is no other."""
        return self.X if self.teacher is None else self.teacher

    def take(self, rows: NDArray) -> "Samples":
        """The rows with these indices."""
        return self._replace(
            X=take_rows(self.X, rows),
            weight=self.weight[rows],
            teacher=self._teacher_of(rows),
            targets=_taken(self.targets, rows),
        )

    def without(self, rows: NDArray) -> "Samples":
        """All samples except those with these indices."""
        weight = self.weight.copy()
        weight[rows] = 0
        return self._replace(weight=weight)

    def _teacher_of(self, rows: NDArray) -> Rows | None:
        if self.teacher is None or self.teacher_metric != "precomputed":
            return _taken(self.teacher, rows)
        return self.teacher[np.ix_(rows, rows)]


def _taken(array: Rows | MappedRows | None, rows: NDArray) -> Rows | MappedRows | None:
    if isinstance(array, MappedRows):
        return array.take(rows)
    return None if array is None else take_rows(array, rows)


def check_samples(
    X: Rows,
    teacher: Any,
    teacher_metric: Metric,
    sample_weight: ArrayLike | None,
    *,
    min_samples: int,
) -> Samples:
    """Check the arguments of a fit and return Samples.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
        Checked already.
    teacher : array-like of shape (n_samples, n_teacher_features) or None
        None if X is its own teacher.
    teacher_metric : str or callable
    sample_weight : array-like of shape (n_samples,) or None
    min_samples : int
        Smallest number of samples of positive weight.

    Returns
    -------
    samples : Samples
    """
    if X.dtype.kind == "f":
        check_magnitude(X, "X")
    weight = check_sample_weight(sample_weight, X.shape[0])
    if np.count_nonzero(weight) < min_samples:
        raise ValueError(
            f"sample_weight must be positive for at least {min_samples} rows, "
            f"got {np.count_nonzero(weight)}."
        )
    if teacher is None:
        _check_own_teacher(X, teacher_metric)
    else:
        teacher = _checked_teacher(teacher, teacher_metric, X)
    samples = Samples(X, weight, teacher, teacher_metric)
    if weight.all() or is_mapped(X) or is_mapped(teacher):
        return samples
    return samples.take(samples.rows)


def _check_own_teacher(X: Rows, metric: Metric) -> None:
    if metric == "precomputed":
        raise ValueError(
            "teacher_metric='precomputed' needs the dissimilarity matrix of the teacher: "
            "pass it as teacher_embeddings."
        )
    if X.ndim != 2:
        raise ValueError(
            f"teacher_embeddings is required when X is not 2-dimensional, got X.shape={X.shape}."
        )
    if sp.issparse(X):
        check_sparse_metric(metric, "X as its own teacher")


def _checked_teacher(teacher: Any, metric: Metric, X: Rows) -> Rows:
    teacher = check_embeddings(teacher, "teacher_embeddings", metric=metric)
    check_same_rows(X, teacher, "X", "teacher_embeddings")
    check_magnitude(teacher, "teacher_embeddings")
    if metric in ANGULAR_METRICS and teacher.shape[1] == 1:
        raise ValueError(
            f"teacher_embeddings has one column, and {metric!r} distances depend only on its sign: "
            "pass labels as y, which is ignored, or set teacher_metric='euclidean'."
        )
    return teacher
