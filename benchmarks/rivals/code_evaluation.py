"""Scores of coded rows, and the bound of rate-distortion theory for Gaussian rows."""

from typing import NamedTuple

import numpy as np
from sklearn.metrics import pairwise_distances

from rivals.evaluation import COHERENCE, RECALL
from skperco import perception_coherence_score
from skperco.codes._allocation import water_filling

CODED, RERANKED = "coded", "reranked"
CODED_COHERENCE, CODED_RECALL = f"{COHERENCE}, {CODED}", f"{RECALL}, {CODED}"
RERANKED_RECALL = f"{RECALL}, {RERANKED}"
SCORES = (COHERENCE, RECALL, CODED_COHERENCE, CODED_RECALL, RERANKED_RECALL)
BYTES = "bytes"
_N_NEIGHBORS = 10
# Candidates whose distances are computed again from whole vectors.
_N_CANDIDATES = 50
_N_QUERIES = 1000
_SEED = 0


def shared_neighbors(truth, found):
    """Share of the true neighbors of each query, (n_queries, k), among those that were found."""
    pairs = zip(truth.tolist(), found.tolist(), strict=True)
    return np.mean([len(set(one) & set(other)) for one, other in pairs]) / truth.shape[1]


class Judge:
    """Scores of coded rows: queries are a sample of the rows, and the row itself is left out."""

    def __init__(self, rows, metric):
        self.rows, self.metric = rows, metric
        order = np.random.default_rng(_SEED).permutation(len(rows))
        self.chosen = order[:_N_QUERIES]
        self.truth = pairwise_distances(rows[self.chosen], rows, metric=metric)
        self.neighbors = self._nearest(self.truth, _N_NEIGHBORS)

    def scores(self, code):
        """Scores by name, with exact and with coded queries; nan where rows are not decoded."""
        exact, coded = code.distances(self.rows, self.chosen, self.metric)
        scores = {
            BYTES: code.n_bytes,
            COHERENCE: self._coherence(exact),
            RECALL: self._shared(exact, _N_NEIGHBORS),
            RERANKED_RECALL: self._shared(exact, _N_CANDIDATES),
            CODED_COHERENCE: np.nan,
            CODED_RECALL: np.nan,
        }
        if coded is not None:
            scores[CODED_COHERENCE] = self._coherence(coded)
            scores[CODED_RECALL] = self._shared(coded, _N_NEIGHBORS)
        return scores

    def _coherence(self, found):
        """Coherence among the queries alone."""
        square = (table[:, self.chosen].astype(np.float64) for table in (self.truth, found))
        return perception_coherence_score(*square, metric="precomputed")

    def _shared(self, found, n_found):
        """Share of the true neighbors among the nearest `n_found` coded rows."""
        found = self._nearest(found, n_found)
        return shared_neighbors(self.neighbors, found)

    def _nearest(self, table, k):
        table = table.copy()
        table[np.arange(len(table)), self.chosen] = np.inf
        return np.argpartition(table, k - 1, axis=1)[:, :k]


class GaussianBound(NamedTuple):
    """The best code for Gaussian rows with the second moments of the given rows.

    Reverse water-filling gives the dimension of variance v the error D = min(v, level), and the
    test channel of rate-distortion theory decodes g x + sqrt(D g) z, with g = 1 - D / v and
    standard normal z (Cover and Thomas, Elements of Information Theory, 10.3).
    """

    n_bytes: float
    vectors: np.ndarray
    gains: np.ndarray
    noise: np.ndarray

    @classmethod
    def of(cls, rows, n_bytes):
        """The bound for codes of `n_bytes` bytes."""
        variances, vectors = np.linalg.eigh(rows.T.astype(np.float64) @ rows / len(rows))
        variances = np.maximum(variances, np.finfo(np.float64).tiny)
        errors = variances * 4.0 ** -water_filling(variances, 8 * n_bytes)
        gains = 1 - errors / variances
        return cls(n_bytes, vectors, gains, np.sqrt(errors * gains))

    def distances(self, rows, chosen, metric):
        """Dissimilarities of the chosen rows, exact and coded, and all coded rows."""
        decoded = self._decode(rows)
        queries = rows[chosen] @ self.vectors, decoded[chosen]
        return [pairwise_distances(one, decoded, metric=metric) for one in queries]

    def _decode(self, rows):
        noise = np.random.default_rng(_SEED).standard_normal(rows.shape)
        return self.gains * (rows @ self.vectors) + self.noise * noise
