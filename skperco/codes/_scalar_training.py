"""Scalar codes (transform coding): Lloyd-Max levels of each dimension."""

import numpy as np
from numpy.typing import NDArray

from skperco.codes._allocation import mean_squares
from skperco.codes._residual_code import N_CENTROIDS, ResidualCode

_BITS_PER_BYTE = 8
_N_ITER = 50


def train_scalar_code(
    embeddings: NDArray[np.float32],
    n_bytes: int,
    *,
    weights: NDArray[np.float32],
    sample_weight: NDArray[np.floating],
) -> tuple[NDArray[np.intp], ResidualCode]:
    """Train a scalar code, in which no dimension is divided between two bytes.

    It is a product code whose centroids are the grids of the levels of their dimensions, so that
    whatever reads product codes also reads it.

    Parameters
    ----------
    embeddings : ndarray of shape (n_rows, n_components), float32
        n_components is at least `n_bytes`.
    n_bytes : int
    weights : ndarray of shape (n_components,), float32
        Of the errors, as in :class:`ResidualCode`.
    sample_weight : ndarray of shape (n_rows,)

    Returns
    -------
    order : ndarray of shape (n_components,)
        The columns in the order in which the code takes them.
    code : ResidualCode
        On the CPU.
    """
    groups, codebooks = [], []
    for group, bits in _allocate(mean_squares(embeddings * weights, sample_weight), n_bytes):
        levels = [
            lloyd_max_levels(embeddings[:, dimension], 2**n, sample_weight)
            for dimension, n in zip(group, bits, strict=True)
        ]
        grid = np.stack(np.meshgrid(*levels, indexing="ij"), axis=-1).reshape(N_CENTROIDS, -1)
        groups.append(group)
        codebooks.append(grid[None].astype(np.float32))
    return np.concatenate(groups), ResidualCode.from_codebooks(codebooks)


def _allocate(
    variances: NDArray[np.floating], n_bytes: int
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """The dimensions of each byte, and the bits of each.

    Each bit goes to the dimension with the largest remaining error (greedy allocation; a bit
    divides the error by four), as long as the byte of the dimension has a bit left. A dimension
    joins the byte with the most bits left when it gets its first bit. Those without bits are
    added to the bytes one by one; their only level is the mean.
    """
    errors = variances.astype(np.float64)
    bits = np.zeros(len(errors), dtype=np.intp)
    byte_of = np.full(len(errors), -1)
    left = np.full(n_bytes, _BITS_PER_BYTE)
    for _ in range(_BITS_PER_BYTE * n_bytes):
        placed = byte_of >= 0
        has_room = np.where(placed, left[byte_of] > 0, True)
        dimension = int(np.argmax(np.where(has_room, errors, -1)))
        if not placed[dimension]:
            byte_of[dimension] = int(np.argmax(left))
        bits[dimension] += 1
        errors[dimension] /= 4
        left[byte_of[dimension]] -= 1
    unplaced = np.flatnonzero(byte_of < 0)
    byte_of[unplaced] = np.arange(len(unplaced)) % n_bytes
    members = [np.flatnonzero(byte_of == byte) for byte in range(n_bytes)]
    return [(group, bits[group]) for group in members]


def lloyd_max_levels(
    values: NDArray[np.floating], n_levels: int, sample_weight: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Levels of a scalar quantizer with the least mean squared error (Lloyd, 1982; Max, 1960).

    Parameters
    ----------
    values : ndarray of shape (n_rows,)
    n_levels : int
    sample_weight : ndarray of shape (n_rows,)

    Returns
    -------
    levels : ndarray of shape (n_levels,), float64
        In ascending order.
    """
    order = np.argsort(values, kind="stable")
    values, weights = values[order].astype(np.float64), sample_weight[order]
    total_weights = np.concatenate([[0], np.cumsum(weights)])
    totals = np.concatenate([[0], np.cumsum(weights * values)])
    shares = (np.arange(n_levels) + 0.5) / n_levels
    positions = np.searchsorted(total_weights, shares * total_weights[-1]).clip(1, len(values))
    levels = values[positions - 1]
    for _ in range(_N_ITER):
        bounds = np.searchsorted(values, (levels[1:] + levels[:-1]) / 2)
        bounds = np.concatenate([[0], bounds, [len(values)]])
        cell_weights = np.diff(total_weights[bounds])
        means = np.divide(
            np.diff(totals[bounds]), cell_weights, out=levels.copy(), where=cell_weights > 0
        )
        levels = np.sort(means)
    return levels
