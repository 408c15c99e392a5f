"""Landmark multidimensional scaling: coordinates of a teacher that is given by dissimilarities."""

import numpy as np
from scipy.linalg import eigh

from skperco.closed_form._truncated_svd import unit_norm_rows, weighted_sum
from skperco.dissimilarity._dense import ANGULAR_METRICS, METRICS
from skperco.dissimilarity._table import dissimilarity_table
from skperco.utils._chunking import MappedRows, blocks

_SCALING_DIMENSIONS = 256
_LANDMARKS = 1000
_ROWS_PER_BLOCK = 2**13
# Up to this number of rows their coordinates are kept, since they are expensive to compute.
_ROWS_KEPT = 2**16


def teacher_coordinates(teacher, metric, sample_weight, random_state, device):
    """Coordinates of the rows whose euclidean order resembles the teacher's.

    Unit rows under cosine, centered rows under the metrics of a norm, and landmark
    multidimensional scaling under any other.

    Parameters
    ----------
    teacher : ndarray of shape (n_samples, n_features)
        Embeddings, or the (n_samples, n_samples) table with ``metric="precomputed"``.
    metric : str or callable
    sample_weight : ndarray of shape (n_samples,)
        Rows of weight zero have coordinates, but do not influence those of others.
    random_state : RandomState
    device : torch.device
        Where a callable is called.

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

    def dissimilarities(rows, columns):
        return dissimilarity_table(teacher, metric, rows, columns, device=device).cpu().numpy()

    landmarks = random_state.permutation(np.flatnonzero(sample_weight))[:_LANDMARKS]
    coordinates = classical_scaling(dissimilarities, landmarks, len(teacher), _SCALING_DIMENSIONS)
    if len(teacher) > _ROWS_KEPT:
        return coordinates
    return np.concatenate([block for _, block in blocks(coordinates, _ROWS_PER_BLOCK)])


def _centered_directions(rows):
    return unit_norm_rows(rows - rows.mean(1, keepdims=True))


def classical_scaling(dissimilarities, landmarks, n_rows, n_dimensions):
    """Coordinates whose squared distances resemble squared dissimilarities.

    Landmark multidimensional scaling [1]_: eigenvectors of the doubly centered table of a few
    landmarks, and every row placed by its dissimilarities to them.

    Parameters
    ----------
    dissimilarities : callable
        Numbers of rows, twice, to the table between them, an ndarray.
    landmarks : ndarray of int
        Their numbers.
    n_rows : int
    n_dimensions : int
        Number of coordinates. Those that the table of the landmarks does not have are zero.

    Returns
    -------
    coordinates : MappedRows of shape (n_rows, n_dimensions), float64

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
    real = values > 1e-9 * max(values[-1], 0)
    placing = np.zeros((len(landmarks), n_dimensions))
    placing[:, : real.sum()] = vectors[:, real][:, ::-1] / np.sqrt(values[real][::-1])

    def place(rows):
        squared = np.square(dissimilarities(rows, landmarks), dtype=np.float64)
        return (means - squared) @ placing / 2

    return MappedRows(np.arange(n_rows), place, placing.shape[1])
