"""Streams of batches: reservoir sampling of the rows of all batches so far."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from skperco.training._samples import Samples
from skperco.utils._chunking import stacked

# Refit once the stream has grown by 1 / _REFIT_GROWTH since the last fit.
_REFIT_GROWTH = 10


class Stream(NamedTuple):
    """A uniform random sample of the rows of a stream.

    Attributes
    ----------
    samples : Samples
        Rows of the sample.
    keys : ndarray of shape (n_samples,)
        A random number for each row; the rows with the smallest ones stay in the sample.
    max_samples : int
        Largest size of the sample.
    random_state : RandomState
        Draws the keys.
    n_seen : int
        Number of rows of the stream.
    n_learned : int
        Value of `n_seen` at the last fit.
    start : torch.nn.Module or None
        A fitted student, from which fits start in place of the closed form.
    """

    samples: Samples
    keys: NDArray
    max_samples: int
    random_state: np.random.RandomState
    n_seen: int
    n_learned: int = 0
    start: torch.nn.Module | None = None

    @classmethod
    def from_batch(
        cls,
        batch: Samples,
        max_samples: int,
        random_state: int | np.random.RandomState | None,
        start: torch.nn.Module | None,
    ) -> "Stream":
        """The stream of one batch."""
        state = check_random_state(random_state)
        keys = state.uniform(size=batch.n_rows)
        return cls(batch, keys, max_samples, state, batch.n_rows, start=start)._resampled()

    def update(self, batch: Samples) -> "Stream":
        """The stream with one more batch."""
        samples = Samples(
            X=stacked(self.samples.X, batch.X, "X"),
            weight=np.concatenate([self.samples.weight, batch.weight]),
            teacher=stacked(self.samples.teacher, batch.teacher, "teacher_embeddings"),
            teacher_metric=batch.teacher_metric,
        )
        keys = np.concatenate([self.keys, self.random_state.uniform(size=batch.n_rows)])
        n_seen = self.n_seen + batch.n_rows
        return self._replace(samples=samples, keys=keys, n_seen=n_seen)._resampled()

    def _resampled(self) -> "Stream":
        """The stream with at most `max_samples` rows, in their order."""
        if len(self.keys) <= self.max_samples:
            return self
        kept = np.sort(np.argpartition(self.keys, self.max_samples)[: self.max_samples])
        return self._replace(samples=self.samples.take(kept), keys=self.keys[kept])

    @property
    def should_refit(self) -> bool:
        """Whether the stream has grown enough since the last fit."""
        return _REFIT_GROWTH * (self.n_seen - self.n_learned) >= self.n_learned
