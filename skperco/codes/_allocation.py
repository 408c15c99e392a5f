"""Weights of errors, and allocation of bits to dimensions and of dimensions to groups."""

import numpy as np
from numpy.typing import NDArray

# Exponent of the variances in the weights of errors.
_WEIGHT_POWER = 0.3
# Smaller variances, relative to the largest one, have the weight of this variance.
_LEAST_VARIANCE = 1e-6


def mean_squares(
    embeddings: NDArray[np.float32], sample_weight: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Weighted means of the squares of each dimension."""
    return np.average(embeddings.astype(np.float64) ** 2, axis=0, weights=sample_weight)


def error_weights(variances: NDArray[np.floating]) -> NDArray[np.float32]:
    """Weights of the errors of each dimension, with which codes keep more of the ranking.

    An error e of a coded row changes its inner product with a query q by q.e. If dimensions are
    uncorrelated, the mean square of this change over the queries is the sum of v * e^2, where v is
    the variance of a dimension. Score-aware quantization (Guo et al., 2020) therefore weights
    errors by the square root of v before they are squared. This is best for the order of all
    rows, but near neighbors also differ in the dimensions of small variance. The weights v^0.3
    are a compromise, with which codes keep more of both than with equal weights.

    Parameters
    ----------
    variances : ndarray of shape (n_dimensions,)

    Returns
    -------
    weights : ndarray of shape (n_dimensions,), float32
        At most 1, and positive.
    """
    largest = variances.max()
    if not largest:
        return np.ones(len(variances), dtype=np.float32)
    relative = np.maximum(variances / largest, _LEAST_VARIANCE)
    return (relative**_WEIGHT_POWER).astype(np.float32)


def water_filling(variances: NDArray[np.floating], n_bits: float) -> NDArray[np.float64]:
    """Bits of each dimension that minimize the mean squared error of Gaussian dimensions.

    Reverse water-filling (Cover and Thomas, *Elements of Information Theory*, 10.3.3): a dimension
    of variance v gets max(0, log2(v / level) / 2) bits, with the level for which they sum to
    `n_bits`.

    Parameters
    ----------
    variances : ndarray of shape (n_dimensions,)
    n_bits : float

    Returns
    -------
    bits : ndarray of shape (n_dimensions,), float64
    """
    order = np.argsort(-variances, kind="stable")
    # A dimension without variance gets no bits unless all are such.
    logs = np.log2(np.maximum(variances[order], np.finfo(np.float64).tiny))
    counts = np.arange(1, len(logs) + 1)
    levels = (np.cumsum(logs) - 2 * n_bits) / counts
    n_active = int(counts[levels <= logs].max())
    bits = np.zeros(len(logs))
    bits[order[:n_active]] = (logs[:n_active] - levels[n_active - 1]) / 2
    return bits


def group_dimensions(
    bits: NDArray[np.floating], capacities: NDArray[np.integer]
) -> list[NDArray[np.intp]]:
    """Divide dimensions among groups so that their bits are in proportion to their capacities.

    Greedy scheduling: each dimension, in descending order of its bits, is added to the group with
    the fewest bits relative to its capacity, of those that are not full: the numbers of dimensions
    differ by at most one. This is the eigenvalue allocation of optimized product quantization (Ge,
    He, Ke and Sun, 2013), which balances the product of the variances in each group.

    Parameters
    ----------
    bits : ndarray of shape (n_dimensions,)
    capacities : ndarray of shape (n_groups,)

    Returns
    -------
    groups : list of ndarray of int
        The dimensions of each group in ascending order. No group is empty if there are at least
        as many dimensions as groups.
    """
    groups: list[list[int]] = [[] for _ in capacities]
    loads, sizes = np.zeros(len(capacities)), np.zeros(len(capacities), dtype=int)
    fewest, n_larger = divmod(len(bits), len(capacities))
    for dimension in np.argsort(-bits, kind="stable"):
        # A group is full with the smaller number of dimensions once enough others are larger.
        most = fewest + ((sizes > fewest).sum() < n_larger)
        group = np.lexsort((sizes, np.where(sizes < most, loads, np.inf)))[0]
        groups[group].append(int(dimension))
        loads[group] += bits[dimension] / capacities[group]
        sizes[group] += 1
    return [np.sort(np.array(group, dtype=np.intp)) for group in groups]
