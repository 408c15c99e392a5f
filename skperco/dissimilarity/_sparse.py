"""Dissimilarities between sparse rows, which are never converted to dense ones."""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.metrics.pairwise import manhattan_distances
from sklearn.preprocessing import normalize
from sklearn.utils.extmath import row_norms

from skperco.utils._types import Metric

_PAIRS_PER_CHUNK = 2**15


def sparse_dissimilarity(
    anchors: sp.csr_array, references: sp.csr_array, metric: Metric
) -> NDArray[np.float64]:
    """Dissimilarities of every anchor to every reference, as for dense rows.

    Parameters
    ----------
    anchors : CSR of shape (n_anchors, n_features)
    references : CSR of shape (n_references, n_features)
    metric : {"cosine", "euclidean", "sqeuclidean", "manhattan"}

    Returns
    -------
    dissimilarities : ndarray of shape (n_anchors, n_references), float64
    """
    anchors, references = (rows.astype(np.float64, copy=False) for rows in (anchors, references))
    return _METRICS[metric](anchors, references)


def sparse_squared_norms(rows: sp.csr_array) -> NDArray[np.float64]:
    """Squared norms of the rows, float64 of shape (n_rows,)."""
    # scikit-learn accumulates in the dtype of the rows.
    return row_norms(rows.astype(np.float64, copy=False), squared=True)


def _sqeuclidean(anchors: sp.csr_array, references: sp.csr_array) -> NDArray[np.float64]:
    norms = sparse_squared_norms(anchors)[:, None] + sparse_squared_norms(references)
    return _squared_distances(anchors, references, norms)


def _cosine(anchors: sp.csr_array, references: sp.csr_array) -> NDArray[np.float64]:
    # With norms of exactly 1 instead of rounded ones, all pairs of rows without a common column
    # have the same dissimilarity.
    norms = np.full((anchors.shape[0], references.shape[0]), 2.0)
    return _squared_distances(_directions(anchors), _directions(references), norms) / 2


def _squared_distances(
    anchors: sp.csr_array, references: sp.csr_array, norms: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Squared distances, given the sum of the squared norms of each pair."""
    squared = norms - 2 * (anchors @ references.T).toarray()
    # Below this fraction of the norms, cancellation has lost a quarter of the digits.
    close = np.argwhere(squared < np.finfo(np.float64).eps ** 0.25 * norms)
    for pairs in np.array_split(close, -(-len(close) // _PAIRS_PER_CHUNK) or 1):
        rows, columns = pairs.T
        squared[rows, columns] = sparse_squared_norms(anchors[rows] - references[columns])
    return squared


def _directions(rows: sp.csr_array) -> sp.csr_array:
    """Unit rows with one more column, which is 1 for zero rows and 0 for all others."""
    zero = sp.csr_array((sparse_squared_norms(rows) == 0)[:, None].astype(np.float64))
    return sp.hstack([normalize(rows), zero], format="csr")


def _euclidean(anchors: sp.csr_array, references: sp.csr_array) -> NDArray[np.float64]:
    return np.sqrt(_sqeuclidean(anchors, references))


_METRICS: dict[Metric, Callable[..., Any]] = {
    "cosine": _cosine,
    "euclidean": _euclidean,
    "manhattan": manhattan_distances,
    "sqeuclidean": _sqeuclidean,
}
