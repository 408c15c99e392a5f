"""Samples: rows of the input, their weights, and the teacher's representation of them."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skperco.utils._chunking import AnyRows, MappedRows, take_rows
from skperco.utils._types import Metric, Rows


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


def _taken(array: AnyRows | None, rows: NDArray) -> AnyRows | None:
    if isinstance(array, MappedRows):
        return array.take(rows)
    return None if array is None else take_rows(array, rows)
