"""Dissimilarities between sparse rows, which are never made dense."""

import numpy as np
import scipy.sparse as sp
from sklearn.metrics.pairwise import manhattan_distances
from sklearn.preprocessing import normalize

_PAIRS_PER_CHUNK = 2**15


def sparse_dissimilarity(anchors, references, metric):
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


def sparse_squared_norms(rows):
    """Squared norms of the rows, float64 of shape (n_rows,)."""
    return np.asarray(rows.multiply(rows).sum(1, dtype=np.float64)).ravel()


def _sqeuclidean(anchors, references):
    norms = sparse_squared_norms(anchors)[:, None] + sparse_squared_norms(references)
    return _squared_distances(anchors, references, norms)


def _cosine(anchors, references):
    # With the norms as they should be, and not as they are rounded, rows that share no column
    # are all as far from each other.
    norms = np.full((anchors.shape[0], references.shape[0]), 2.0)
    return _squared_distances(_directions(anchors), _directions(references), norms) / 2


def _squared_distances(anchors, references, norms):
    squared = norms - 2 * (anchors @ references.T).toarray()
    # Below this share of the norms, cancellation has cost a quarter of the digits.
    close = np.argwhere(squared < np.finfo(np.float64).eps ** 0.25 * norms)
    for pairs in np.array_split(close, -(-len(close) // _PAIRS_PER_CHUNK) or 1):
        rows, columns = pairs.T
        squared[rows, columns] = sparse_squared_norms(anchors[rows] - references[columns])
    return squared


def _directions(rows):
    """Unit rows with one more column, in which all zero rows share a direction of their own."""
    zero = sp.csr_array((sparse_squared_norms(rows) == 0)[:, None].astype(np.float64))
    return sp.hstack([normalize(rows), zero], format="csr")


def _euclidean(anchors, references):
    return np.sqrt(_sqeuclidean(anchors, references))


_METRICS = {
    "cosine": _cosine,
    "euclidean": _euclidean,
    "manhattan": manhattan_distances,
    "sqeuclidean": _sqeuclidean,
}
