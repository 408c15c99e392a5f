"""Held-out rows, and what they say about a student."""

from typing import NamedTuple

import numpy as np
import torch

from skperco.concordance import concordance
from skperco.dissimilarity import pairwise_dissimilarity, without_diagonal
from skperco.metrics import neighbor_shares

_NEIGHBORS = 10


class Judgement(NamedTuple):
    """How well each held-out row says that a student keeps the order and the neighbours."""

    coherences: np.ndarray
    recalls: np.ndarray
    sample_weight: np.ndarray

    @property
    def coherence(self):
        """Mean coherence."""
        return _mean(self.coherences, self.sample_weight)

    @property
    def recall(self):
        """Mean recall of the nearest neighbours."""
        return _mean(self.recalls, self.sample_weight)

    def worth(self, rank_power):
        """Coherence and recall as `rank_power` weighs them."""
        return rank_power * self.coherence + (1 - rank_power) * self.recall

    def gain(self, other, rank_power):
        """Gain in worth over `other`, or -inf where what may not be lost is lost.

        From 0.5 to 1 the coherence must not fall; from 0 to 0.5 the recall must not fall by
        more than its standard error, which is wide.
        """
        lost = rank_power >= 0.5 and self.coherence < other.coherence
        change = self.recalls - other.recalls
        error = np.std(change) / len(change) ** 0.5
        lost |= rank_power <= 0.5 and _mean(change, self.sample_weight) < -error
        return -np.inf if lost else self.worth(rank_power) - other.worth(rank_power)


def _mean(values, weights):
    known = ~np.isnan(values)
    return float(np.average(values[known], weights=weights[known])) if known.any() else np.nan


class Judge:
    """The teacher's view of held-out rows, from each to the others.

    Parameters
    ----------
    table : torch.Tensor of shape (n_rows, n_rows), float64
        The teacher's dissimilarities among the held-out rows.
    metric : str or callable
        The student's.
    sample_weight : ndarray of shape (n_rows,)
    """

    def __init__(self, table, metric, sample_weight):
        self.table = without_diagonal(table)
        self.metric = metric
        self.sample_weight = sample_weight
        weights = torch.from_numpy(sample_weight)
        self.reference_weight = without_diagonal(weights.expand(table.shape))
        self.n_neighbors = min(_NEIGHBORS, len(table) - 1)
        self.neighbors = neighbor_shares(self.table, self.n_neighbors)

    def __call__(self, images):
        """Judgement of a student by its images of the rows, an ndarray."""
        rows = torch.from_numpy(images).double()
        seen = without_diagonal(pairwise_dissimilarity(rows, rows, metric=self.metric))
        shared = torch.minimum(neighbor_shares(seen, self.n_neighbors), self.neighbors)
        return Judgement(
            concordance(self.table, seen, weights=self.reference_weight).numpy(),
            (shared.sum(1) / self.n_neighbors).numpy(),
            self.sample_weight,
        )
