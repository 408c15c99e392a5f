"""Streams: a bounded random sample of all batches so far, which stands for them."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.utils import check_random_state

from skperco.samples import Samples

# The student learns again when as many rows have come as there were, divided by this: fewer change
# little about the sample.
_NEWS = 10


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
    def begun_by(cls, batch, max_samples, random_state, start):
        """The stream of one batch, Samples."""
        random_state = check_random_state(random_state)
        keys = random_state.uniform(size=batch.n_rows)
        return cls(batch, keys, max_samples, random_state, batch.n_rows, start=start)._shortened()

    def followed_by(self, batch):
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
    def has_news(self):
        """Whether enough rows have come for the student to learn again."""
        return _NEWS * (self.n_seen - self.n_learned) >= self.n_learned


def stacked(rows, more, name):
    """The rows of all batches together."""
    if rows is None and more is None:
        return None
    kinds = [
        "nothing" if part is None else "sparse rows" if sp.issparse(part) else "dense rows"
        for part in (rows, more)
    ]
    if kinds[0] != kinds[1]:
        raise ValueError(f"{name} must be alike in all batches, got {kinds[1]} after {kinds[0]}.")
    if rows.shape[1:] != more.shape[1:]:
        shapes = [
            shape[0] if len(shape) == 1 else shape for shape in (more.shape[1:], rows.shape[1:])
        ]
        raise ValueError(
            f"{name} must have as many features in all batches, got {shapes[0]} after {shapes[1]}."
        )
    return sp.vstack([rows, more], format="csr") if sp.issparse(rows) else np.vstack([rows, more])
