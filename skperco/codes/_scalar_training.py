"""Numbers of levels of the dimensions of a scalar code, and the words that they share."""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from skperco.codes._allocation import group_dimensions, mean_squares, water_filling
from skperco.codes._scalar_code import ScalarCode, normal_error

_BITS_PER_BYTE = 8
# Words of two bytes are used if the error is below this fraction of that with words of one byte,
# which search engines compare faster. Words of two bytes have equal numbers of dimensions, which
# FAISS needs, unless there are fewer dimensions than bytes.
_MAX_ERROR_RATIO = 0.9
# Scales to choose from, relative to the standard deviation of a dimension.
_FACTORS = (0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
# Standard deviation of constant dimensions.
_TINY = 1e-12


def train_scalar_code(
    embeddings: NDArray[np.float32],
    n_bytes: int,
    *,
    weights: NDArray[np.float32],
    sample_weight: NDArray[np.floating],
) -> tuple[NDArray[np.intp], ScalarCode]:
    """Choose the levels of each dimension by its variance.

    Parameters
    ----------
    embeddings : ndarray of shape (n_rows, n_components), float32
    n_bytes : int
    weights : ndarray of shape (n_components,), float32
        Of the errors of each dimension, before they are squared.
    sample_weight : ndarray of shape (n_rows,)

    Returns
    -------
    order : ndarray of shape (n_components,)
        The columns in the order in which the code takes them.
    code : ScalarCode
        On the CPU.
    """
    n_components = embeddings.shape[1]
    variances = mean_squares(embeddings, sample_weight)
    weighted = variances * weights.astype(np.float64) ** 2
    word_bytes, groups, n_levels = 1, *_allocate(weighted, n_bytes, 1)
    if n_bytes % 2 == 0 and (n_components < n_bytes or n_components % (n_bytes // 2) == 0):
        of_two_bytes = _allocate(weighted, n_bytes, 2)
        if _error(weighted, *of_two_bytes) < _MAX_ERROR_RATIO * _error(weighted, groups, n_levels):
            word_bytes, (groups, n_levels) = 2, of_two_bytes
    order = np.concatenate(groups)
    code = ScalarCode(
        torch.from_numpy(np.concatenate(n_levels)),
        torch.from_numpy(np.sqrt(variances[order]).clip(_TINY)).float(),
        torch.tensor([len(group) for group in groups]),
        torch.tensor([word_bytes, n_bytes]),
    )
    code.scales *= _best_factors(code, embeddings[:, order], sample_weight)
    return order, code


def _best_factors(
    code: ScalarCode, embeddings: NDArray[np.float32], sample_weight: NDArray[np.floating]
) -> torch.Tensor:
    """Factors of the scales with the least error, which are above 1 for heavy tails."""
    rows = torch.from_numpy(embeddings)
    errors = []
    for factor in _FACTORS:
        decoded = factor * code.decode(code.encode(rows / factor))
        errors.append(sample_weight @ (decoded - rows).double().square().numpy())
    return torch.tensor(_FACTORS, dtype=torch.float32)[np.argmin(errors, axis=0)]


def _allocate(
    variances: NDArray[np.floating], n_bytes: int, word_bytes: int
) -> tuple[list[NDArray[np.intp]], list[NDArray[np.int64]]]:
    """The dimensions of each word, and their numbers of levels."""
    n_words = min(n_bytes // word_bytes, len(variances))
    bits = water_filling(variances, _BITS_PER_BYTE * n_bytes)
    groups = group_dimensions(bits, np.ones(n_words, dtype=np.intp))
    n_values = 2 ** (_BITS_PER_BYTE * word_bytes)
    return groups, [level_counts(variances[group], n_values) for group in groups]


def level_counts(variances: NDArray[np.floating], n_values: int) -> NDArray[np.int64]:
    """Numbers of levels whose product is at most `n_values`, for a small error.

    Those of water-filling are rounded, the smallest first, and the other dimensions share what is
    left of the product.

    Parameters
    ----------
    variances : ndarray of shape (n_dimensions,)
    n_values : int

    Returns
    -------
    n_levels : ndarray of shape (n_dimensions,), int64
    """
    n_levels = np.ones(len(variances), dtype=np.int64)
    ascending = np.argsort(variances, kind="stable")
    left = n_values
    for i, dimension in enumerate(ascending[:-1]):
        bits = water_filling(variances[ascending[i:]], math.log2(left))[0]
        n_levels[dimension] = max(1, round(2**bits))
        left //= int(n_levels[dimension])
    n_levels[ascending[-1]] = left
    return n_levels


def _error(
    variances: NDArray[np.floating],
    groups: list[NDArray[np.intp]],
    n_levels: list[NDArray[np.int64]],
) -> float:
    errors = [normal_error(int(n)) for n in np.concatenate(n_levels)]
    return float(variances[np.concatenate(groups)] @ errors)
