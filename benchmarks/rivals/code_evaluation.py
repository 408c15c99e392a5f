"""Scores of coded rows, and the bound of rate-distortion theory for Gaussian rows."""

from typing import NamedTuple

import numpy as np
from sklearn.metrics import pairwise_distances

from rivals.evaluation import COHERENCE, RECALL
from skperco import perception_coherence_score

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


class Judge:
    """Scores of coded rows: queries are a sample of the rows, and the row itself is left out."""

    def __init__(self, rows, metric):
        self.rows, self.metric = rows, metric
        order = np.random.default_rng(_SEED).permutation(len(rows))
        self.chosen = order[:_N_QUERIES]
        self.truth = pairwise_distances(rows[self.chosen], rows, metric=metric)

    def scores(self, code):
        """Scores by name, with exact and with coded queries; nan where rows are not decoded."""
        scores = {BYTES: code.n_bytes}
        names = {False: (COHERENCE, RECALL), True: (CODED_COHERENCE, CODED_RECALL)}
        for coded, (coherence, recall) in names.items():
            found = code.distances(self.rows, self.rows[self.chosen], self.metric, coded=coded)
            if found is None:
                scores |= {coherence: np.nan, recall: np.nan}
                continue
            scores[coherence] = self._coherence(found)
            scores[recall] = self._shared(found, _N_NEIGHBORS)
            if not coded:
                scores[RERANKED_RECALL] = self._shared(found, _N_CANDIDATES)
        return scores

    def _coherence(self, found):
        """Coherence among the queries alone."""
        square = (table[:, self.chosen].astype(np.float64) for table in (self.truth, found))
        return perception_coherence_score(*square, metric="precomputed")

    def _shared(self, found, n_found):
        """Share of the true neighbors among the nearest `n_found` coded rows."""
        truth, found = (
            self._nearest(*pair) for pair in ((self.truth, _N_NEIGHBORS), (found, n_found))
        )
        pairs = zip(truth.tolist(), found.tolist(), strict=True)
        return np.mean([len(set(one) & set(other)) for one, other in pairs]) / _N_NEIGHBORS

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
        errors = np.minimum(variances, _water_level(variances, 8 * n_bytes))
        gains = 1 - errors / variances
        return cls(n_bytes, vectors, gains, np.sqrt(errors * gains))

    def distances(self, rows, queries, metric, *, coded):
        """Dissimilarities of queries, exact or coded, and coded rows."""
        # Equal rows have equal codes: the noise of a query is that of the same row.
        decoded = self._decode(rows)
        if not coded:
            return pairwise_distances(queries @ self.vectors, decoded, metric=metric)
        position = {row.tobytes(): i for i, row in enumerate(rows)}
        indices = [position[query.tobytes()] for query in queries]
        return pairwise_distances(decoded[indices], decoded, metric=metric)

    def _decode(self, rows):
        noise = np.random.default_rng(_SEED).standard_normal(rows.shape)
        return self.gains * (rows @ self.vectors) + self.noise * noise


def _water_level(variances, n_bits):
    """The level with which the bits log2(v / level) / 2 sum to `n_bits`, by bisection."""
    low, high = np.log2(variances.min()) - n_bits, np.log2(variances.max())
    for _ in range(200):
        middle = (low + high) / 2
        if np.maximum(np.log2(variances) - middle, 0).sum() / 2 > n_bits:
            low = middle
        else:
            high = middle
    return 2**high
