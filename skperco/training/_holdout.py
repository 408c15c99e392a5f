"""Evaluation of students on held-out rows."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from skperco.dissimilarity._dense import check_no_nan, order_to_references, without_diagonal
from skperco.metrics._common import mean_of_defined, neighbor_shares
from skperco.metrics._concordance import Ranking, compare, rank, row_chunks
from skperco.utils._types import Metric

# Largest coherence loss accepted in exchange for recall, relative to the best point on the
# interpolation path. Beyond it recall no longer improves.
_PATH_TOLERANCE = 3e-3
_MAX_HELD_OUT = 1000
# With fewer rows the validation scores are too noisy to compare students.
_MIN_HELD_OUT = 20


def count_held_out(n_rows: int, validation_fraction: float) -> int:
    """Number of rows to hold out; 0 if they would be too few for a comparison."""
    n_held_out = min(int(validation_fraction * n_rows), _MAX_HELD_OUT)
    return n_held_out if n_held_out >= _MIN_HELD_OUT else 0


class HoldoutScores(NamedTuple):
    """Coherence and recall of a student at each held-out row."""

    coherences: NDArray
    recalls: NDArray
    sample_weight: NDArray

    @property
    def coherence(self) -> float:
        """Mean coherence."""
        return self._mean(self.coherences)

    @property
    def recall(self) -> float:
        """Mean recall of the nearest neighbors."""
        return self._mean(self.recalls)

    def criterion(self, rank_power: float) -> float:
        """Mean of coherence and recall, weighted by `rank_power`."""
        return rank_power * self.coherence + (1 - rank_power) * self.recall

    def keeps(self, other: "HoldoutScores", rank_power: float, tol: float) -> bool:
        """Whether no score is lower than that of `other` by more than its tolerance.

        If `rank_power` is at least 0.5, the coherence may be lower by at most `tol`; if it is at
        most 0.5, the recall may be lower by at most two standard errors.
        """
        change = self.recalls - other.recalls
        keeps_recall = self._mean(change) >= -2 * self._standard_error(change)
        keeps_coherence = self._mean(self.coherences - other.coherences) >= -tol
        return (rank_power > 0.5 or keeps_recall) and (rank_power < 0.5 or keeps_coherence)

    def matches(self, other: "HoldoutScores", rank_power: float) -> bool:
        """Whether the criterion is at most one standard error below that of `other`."""
        change = rank_power * (self.coherences - other.coherences)
        change = change + (1 - rank_power) * (self.recalls - other.recalls)
        return self._mean(change) >= -self._standard_error(change)

    def _mean(self, values: NDArray) -> float:
        return float(mean_of_defined(values, self.sample_weight))

    def _standard_error(self, values: NDArray) -> float:
        """Standard error of the weighted mean, by linearization; std / sqrt(n) without weights."""
        deviations = np.nan_to_num(self.sample_weight * (values - self._mean(values)))
        total = self.sample_weight[~np.isnan(values)].sum()
        return np.linalg.norm(deviations) / total if total > 0 else np.nan


def last_acceptable(scores: Sequence[HoldoutScores], rank_power: float, tol: float) -> int:
    """Index of the last scores that are acceptable relative to the first and to the best.

    Parameters
    ----------
    scores : sequence of HoldoutScores
        Of students with increasing distance from the closed form, which is the first.
    rank_power : float
    tol : float
        Largest accepted loss of coherence relative to the first.

    Returns
    -------
    index : int
    """
    kept = [n for n, one in enumerate(scores) if one.keeps(scores[0], rank_power, tol)]
    if rank_power >= 0.5:
        lowest = max((scores[n].coherence for n in kept), default=0) - _PATH_TOLERANCE
        kept = [n for n in kept if scores[n].coherence >= lowest]
    best = scores[max(kept, key=lambda n: scores[n].criterion(rank_power), default=0)]
    return max((n for n in kept if scores[n].matches(best, rank_power)), default=0)


class _Block(NamedTuple):
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
    dissimilarities : torch.Tensor of shape (n_rows, n_rows), float64
        The teacher's, between the held-out rows, on the device of the fit.
    metric : str or callable
        The student's.
    sample_weight : ndarray of shape (n_rows,)
    n_neighbors : int
        Number of nearest rows that the recall compares; all others if they are fewer.
    """

    def __init__(
        self,
        dissimilarities: torch.Tensor,
        metric: Metric,
        sample_weight: NDArray,
        n_neighbors: int,
    ):
        self.metric = metric
        self.sample_weight = sample_weight
        self.n_neighbors = min(n_neighbors, len(dissimilarities) - 1)
        self.device = dissimilarities.device
        self.blocks = list(self._rank_blocks(dissimilarities))

    def __call__(self, embeddings: NDArray, queries: NDArray | None = None) -> HoldoutScores:
        """Scores of a student, given its embeddings of the held-out rows.

        If `queries` are given, they are the embeddings of the rows as anchors.
        """
        rows = torch.from_numpy(embeddings).to(self.device, torch.float64)
        anchors = rows
        if queries is not None:
            anchors = torch.from_numpy(queries).to(self.device, torch.float64)
        compute_block = order_to_references(rows, self.metric)
        scores = [
            self._score_block(block, compute_block(anchors[block.rows])) for block in self.blocks
        ]
        coherences, recalls = (
            torch.cat(parts).cpu().numpy() for parts in zip(*scores, strict=True)
        )
        return HoldoutScores(coherences, recalls, self.sample_weight)

    def _rank_blocks(self, dissimilarities: torch.Tensor) -> Iterator[_Block]:
        rows = torch.arange(len(dissimilarities), device=self.device)
        others = without_diagonal(rows.expand(dissimilarities.shape))
        weights = None
        if (self.sample_weight != self.sample_weight[0]).any():
            weights = torch.from_numpy(self.sample_weight).to(self.device)[others]
        matrices = (without_diagonal(dissimilarities), others, rows)
        for block, columns, anchors, of_others in row_chunks(*matrices, weights=weights):
            nearest = neighbor_shares(block, self.n_neighbors)
            yield _Block(anchors, columns, rank(block, of_others), nearest, of_others)

    def _score_block(
        self, block: _Block, dissimilarities: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Coherence and recall of the rows of a block, given their dissimilarities to all rows."""
        check_no_nan(dissimilarities, self.metric, "metric")
        to_others = dissimilarities.gather(1, block.others)
        shared = torch.minimum(neighbor_shares(to_others, self.n_neighbors), block.nearest)
        coherences = compare(block.ranking, rank(to_others, block.weights), block.weights)
        return coherences, shared.sum(1) / self.n_neighbors
