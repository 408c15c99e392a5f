"""Streams: reservoir sampling of all batches so far."""

from typing import NamedTuple

import numpy as np
import torch
from sklearn.utils import check_random_state

from skperco.training._samples import Samples
from skperco.utils._chunking import stacked

# Refit once the stream has grown by one part in this many since the last fit.
_REFIT_GROWTH = 10


class Stream(NamedTuple):
    """Rows kept of a stream, and how much of it has been seen.

    Attributes
    ----------
    samples : Samples
        At most so many, each row of the stream with the same probability.
    keys : ndarray of shape (n_samples,)
        A random number for each; those with the smallest are kept.
    max_samples : int
        How many are kept at most.
    random_state : RandomState
        Draws the keys.
    n_seen : int
        Number of rows of the stream.
    n_learned : int
        How many there were when the student last learned from them.
    start : torch.nn.Module or None
        The student that learns on from a fit to other rows; None if it begins in closed form.
    """

    samples: Samples
    keys: np.ndarray
    max_samples: int
    random_state: np.random.RandomState
    n_seen: int
    n_learned: int = 0
    start: torch.nn.Module | None = None

    @classmethod
    def from_batch(cls, batch, max_samples, random_state, start):
        """The stream of one batch, Samples."""
        random_state = check_random_state(random_state)
        keys = random_state.uniform(size=batch.n_rows)
        return cls(batch, keys, max_samples, random_state, batch.n_rows, start=start)._shortened()

    def update(self, batch):
        """The stream with one more batch."""
        samples = Samples(
            X=stacked(self.samples.X, batch.X, "X"),
            weight=np.concatenate([self.samples.weight, batch.weight]),
            teacher=stacked(self.samples.teacher, batch.teacher, "teacher_embeddings"),
            teacher_metric=batch.teacher_metric,
        )
        keys = np.concatenate([self.keys, self.random_state.uniform(size=batch.n_rows)])
        n_seen = self.n_seen + batch.n_rows
        return self._replace(samples=samples, keys=keys, n_seen=n_seen)._shortened()

    def _shortened(self):
        """The stream with no more rows than are kept, in their order."""
        if len(self.keys) <= self.max_samples:
            return self
        kept = np.sort(np.argpartition(self.keys, self.max_samples)[: self.max_samples])
        return self._replace(samples=self.samples.take(kept), keys=self.keys[kept])

    @property
    def should_refit(self):
        """Whether enough rows have come for the student to learn again."""
        return _REFIT_GROWTH * (self.n_seen - self.n_learned) >= self.n_learned
