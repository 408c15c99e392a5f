"""Evaluation of students on held-out rows."""

from typing import NamedTuple

import numpy as np
import torch

from skperco.dissimilarity._dense import check_no_nan, to_references, without_diagonal
from skperco.metrics._common import mean_of_defined, neighbor_shares
from skperco.metrics._concordance import Ranking, compare, rank, row_chunks

# Largest coherence loss accepted in exchange for recall, relative to the initialization and to the
# best point on the interpolation path. Beyond it recall no longer improves.
_TOLERANCE = 5e-4
_TOLERANCE_ON_THE_WAY = 3e-3


class HoldoutScores(NamedTuple):
    """Coherence and recall of a student at each held-out row."""

    coherences: np.ndarray
    recalls: np.ndarray
    sample_weight: np.ndarray

    @property
    def coherence(self):
        """Mean coherence."""
        return self._mean(self.coherences)

    @property
    def recall(self):
        """Mean recall of the nearest neighbors."""
        return self._mean(self.recalls)

    def worth(self, rank_power):
        """Coherence and recall as `rank_power` weighs them."""
        return rank_power * self.coherence + (1 - rank_power) * self.recall

    def keeps(self, other, rank_power):
        """Whether it loses nothing of `other` that may not be lost.

        From 0.5 to 1 the coherence must be kept, but for the third digit; from 0 to 0.5 the
        recall must not fall by more than two standard errors, which are wide.
        """
        change = self.recalls - other.recalls
        recall = rank_power > 0.5 or self._mean(change) >= -2 * _standard_error(change)
        return recall and (rank_power < 0.5 or self._keeps_coherence(other))

    def matches(self, other, rank_power):
        """Whether its worth is that of `other`, or less by no more than a standard error."""
        change = rank_power * (self.coherences - other.coherences)
        change = change + (1 - rank_power) * (self.recalls - other.recalls)
        return self._mean(change) >= -_standard_error(change)

    def _keeps_coherence(self, other):
        return self._mean(self.coherences - other.coherences) >= -_TOLERANCE

    def _mean(self, values):
        return float(mean_of_defined(values, self.sample_weight))


def farthest(judgments, rank_power):
    """Index of the last judgment that loses nothing against the first or the best.

    Parameters
    ----------
    judgments : list of HoldoutScores
        Of students farther and farther from the closed form, which is the first.
    rank_power : float

    Returns
    -------
    chosen : int
    """
    kept = [n for n, judged in enumerate(judgments) if judged.keeps(judgments[0], rank_power)]
    if rank_power >= 0.5:
        least = max((judgments[n].coherence for n in kept), default=0) - _TOLERANCE_ON_THE_WAY
        kept = [n for n in kept if judgments[n].coherence >= least]
    best = judgments[max(kept, key=lambda n: judgments[n].worth(rank_power), default=0)]
    return max((n for n in kept if judgments[n].matches(best, rank_power)), default=0)


def _standard_error(values):
    known = values[~np.isnan(values)]
    return np.std(known) / len(known) ** 0.5 if len(known) else np.nan


class _Part(NamedTuple):
    """Some held-out rows as anchors, with the teacher's ranking of the other rows."""

    rows: torch.Tensor
    others: torch.Tensor
    ranking: Ranking
    nearest: torch.Tensor
    weights: torch.Tensor | None


class HoldoutScorer:
    """Evaluates students by the teacher's rankings of held-out rows.

    Parameters
    ----------
    table : torch.Tensor of shape (n_rows, n_rows), float64
        The teacher's dissimilarities among the held-out rows, on the device of the fit.
    metric : str or callable
        The student's.
    sample_weight : ndarray of shape (n_rows,)
    n_neighbors : int
        Number of nearest rows that the recall compares; all others if they are fewer.
    """

    def __init__(self, table, metric, sample_weight, n_neighbors):
        self.metric = metric
        self.sample_weight = sample_weight
        self.n_neighbors = min(n_neighbors, len(table) - 1)
        self.device = table.device
        self.parts = list(self._parts(table))

    def __call__(self, embeddings):
        """HoldoutScores of a student, given its embeddings of the rows, an ndarray."""
        embeddings = torch.from_numpy(embeddings).to(self.device, torch.float64)
        look = to_references(embeddings, self.metric)
        judged = zip(
            *(self._judged(part, self._seen(look, embeddings[part.rows])) for part in self.parts),
            strict=True,
        )
        values = (torch.cat(parts).cpu().numpy() for parts in judged)
        return HoldoutScores(*values, self.sample_weight)

    def _parts(self, table):
        numbers = torch.arange(len(table), device=table.device)
        others = without_diagonal(numbers.expand(table.shape))
        weights = None
        if (self.sample_weight != self.sample_weight[0]).any():
            weights = torch.from_numpy(self.sample_weight).to(table.device)[others]
        tables = (without_diagonal(table), others, numbers)
        for seen, columns, rows, of_others in row_chunks(*tables, weights=weights):
            nearest = neighbor_shares(seen, self.n_neighbors)
            yield _Part(rows, columns, rank(seen, of_others), nearest, of_others)

    def _seen(self, look, anchors):
        return check_no_nan(look(anchors), self.metric, "metric")

    def _judged(self, part, seen):
        """Coherence and recall of each row of a part, given its dissimilarities to all rows."""
        seen = seen.gather(1, part.others)
        shared = torch.minimum(neighbor_shares(seen, self.n_neighbors), part.nearest)
        coherences = compare(part.ranking, rank(seen, part.weights), part.weights)
        return coherences, shared.sum(1) / self.n_neighbors
