"""Samples: rows to learn from, and what the teacher makes of them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from skperco.starts import teacher_coordinates


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
