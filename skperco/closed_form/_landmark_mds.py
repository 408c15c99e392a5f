"""Coordinates of a teacher with any dissimilarity, by landmark multidimensional scaling."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh

from skperco.closed_form._truncated_svd import unit_norm_rows, weighted_sum
from skperco.dissimilarity._dense import ANGULAR_METRICS, METRICS
from skperco.dissimilarity._table import dissimilarity_table
from skperco.utils._chunking import MappedRows, blocks
from skperco.utils._types import Metric

_SCALING_DIMENSIONS = 256
_LANDMARKS = 1000
_ROWS_PER_BLOCK = 2**13
# Up to this number of rows the coordinates are stored, since they are expensive to compute.
_ROWS_KEPT = 2**16


def teacher_coordinates(
    teacher: NDArray[np.floating],
    metric: Metric,
    sample_weight: NDArray[np.float64],
    random_state: np.random.RandomState,
    device: torch.device,
) -> NDArray[np.floating] | MappedRows:
    """Coordinates whose Euclidean distances approximate the order of the teacher's dissimilarities.

    For angular metrics, rows scaled to unit norm; for other named metrics, centered rows; for
    precomputed and callable ones, landmark multidimensional scaling.

    Parameters
    ----------
    teacher : ndarray of shape (n_samples, n_features)
        Embeddings, or the (n_samples, n_samples) dissimilarity matrix with
        ``metric="precomputed"``.
    metric : str or callable
    sample_weight : ndarray of shape (n_samples,)
        Rows of weight zero have coordinates, but do not influence those of other rows.
    random_state : RandomState
    device : torch.device
        Device of the tensors that a callable takes.

    Returns
    -------
    coordinates : ndarray or MappedRows of shape (n_samples, n_coordinates)
    """
    if metric in ANGULAR_METRICS:
        directions = unit_norm_rows if metric == "cosine" else _centered_directions
        return MappedRows(teacher, directions, teacher.shape[1])
    if metric in METRICS and metric != "precomputed":
        mean = (weighted_sum(teacher, sample_weight) / sample_weight.sum()).astype(teacher.dtype)
        return MappedRows(teacher, lambda rows: rows - mean, teacher.shape[1])

    def dissimilarities(
        rows: NDArray[np.integer], columns: NDArray[np.integer]
    ) -> NDArray[np.floating]:
        return dissimilarity_table(teacher, metric, rows, columns, device=device).cpu().numpy()

    landmarks = random_state.permutation(np.flatnonzero(sample_weight))[:_LANDMARKS]
    coordinates = landmark_mds(dissimilarities, landmarks, len(teacher), _SCALING_DIMENSIONS)
    if len(teacher) > _ROWS_KEPT:
        return coordinates
    return np.concatenate([block for _, block in blocks(coordinates, _ROWS_PER_BLOCK)])


def _centered_directions(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    return unit_norm_rows(rows - rows.mean(1, keepdims=True))


def landmark_mds(
    dissimilarities: Callable[[Any, NDArray[np.integer]], NDArray[np.floating]],
    landmarks: NDArray[np.integer],
    n_rows: int,
    n_dimensions: int,
) -> MappedRows:
    """Landmark multidimensional scaling.

    Classical scaling of a few landmarks, and out-of-sample (Nystroem) placement of every row by
    its dissimilarities to them [1]_.

    Parameters
    ----------
    dissimilarities : callable
        Takes the indices of rows and of columns, and returns their dissimilarity matrix.
    landmarks : ndarray of int
        Indices of the landmarks.
    n_rows : int
    n_dimensions : int
        Number of coordinates; those beyond the number of positive eigenvalues are zero.

    Returns
    -------
    coordinates : MappedRows of shape (n_rows, n_dimensions), float64

    Notes
    -----
    `sklearn.manifold.ClassicalMDS` gives the same coordinates of the landmarks up to signs, but
    computes all eigenvectors, and nan for negative eigenvalues, which occur if dissimilarities
    are not Euclidean.

    References
    ----------
    .. [1] de Silva, Tenenbaum, "Sparse multidimensional scaling using landmark points",
       Stanford University technical report, 2004.
    """
    squared = np.square(dissimilarities(landmarks, landmarks), dtype=np.float64)
    squared = (squared + squared.T) / 2
    means = squared.mean(0)
    centered = -(squared - means - means[:, None] + means.mean()) / 2
    last = len(landmarks) - 1
    values, vectors = eigh(centered, subset_by_index=[max(0, last - n_dimensions + 1), last])
    positive = values > 1e-9 * max(values[-1], 0)
    projection = np.zeros((len(landmarks), n_dimensions))
    projection[:, : positive.sum()] = vectors[:, positive][:, ::-1] / np.sqrt(
        values[positive][::-1]
    )

    def place(rows: NDArray[np.integer]) -> NDArray[np.float64]:
        squared = np.square(dissimilarities(rows, landmarks), dtype=np.float64)
        return (means - squared) @ projection / 2

    return MappedRows(np.arange(n_rows), place, n_dimensions)
