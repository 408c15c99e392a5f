"""The methods of coding: the dimensions that each can code, and its training."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skperco.codes._allocation import error_weights, mean_squares
from skperco.codes._fixed_codes import (
    BinaryCode,
    IntegerCode,
    train_binary_code,
    train_integer_code,
)
from skperco.codes._residual_code import ResidualCode
from skperco.codes._residual_training import train_residual_code
from skperco.codes._scalar_code import ScalarCode
from skperco.codes._scalar_training import train_scalar_code

METHODS = ("residual", "product", "scalar", "int8", "int4", "binary")
# Bits of each dimension, for methods that give the same number to all.
FIXED_BITS = {"int8": 8, "int4": 4, "binary": 1}
_BITS_PER_BYTE = 8
# Wider beams hardly reduce the error of two bytes.
_PRODUCT_BEAM_WIDTH = 4
# Up to this number of bytes, all bytes of a residual code approximate all dimensions. Otherwise the
# dimensions are divided into groups of at most 8 bytes each, to save time: each byte of a group
# needs another k-means in all dimensions of the group.
_MAX_BYTES_OF_ONE_GROUP = 16
_BYTES_OF_A_GROUP = 8
NO_LIMIT = 2**31 - 1
_CODES: dict[str, type[Any]] = {
    "scalar": ScalarCode,
    "int8": IntegerCode,
    "int4": IntegerCode,
    "binary": BinaryCode,
}


def dimension_limits(method: str, n_bytes: int) -> tuple[int, int]:
    """Smallest and largest number of dimensions that a method codes in this number of bytes."""
    if method in FIXED_BITS:
        per_byte = _BITS_PER_BYTE // FIXED_BITS[method]
        return per_byte * (n_bytes - 1) + 1, per_byte * n_bytes
    if method == "scalar":
        return 1, _BITS_PER_BYTE * n_bytes
    return 1, NO_LIMIT


def train_code(
    method: str,
    embeddings: NDArray[np.float32],
    n_bytes: int,
    *,
    beam_width: int,
    correlated: bool = False,
    sample_weight: NDArray[np.floating],
    random_state: np.random.RandomState,
    device: torch.device,
) -> tuple[NDArray[np.intp], Any]:
    """Train the code of a method.

    Parameters
    ----------
    method : str
        One of METHODS.
    embeddings : ndarray of shape (n_rows, n_components), float32
    n_bytes : int
    beam_width : int
        For residual codes.
    correlated : bool, default=False
        Whether the columns are correlated. Then those of a byte of a product code are adjacent
        columns, and errors have equal weights.
    sample_weight : ndarray of shape (n_rows,)
    random_state : RandomState
    device : torch.device

    Returns
    -------
    order : ndarray of shape (n_components,)
        The columns in the order in which the code takes them.
    code : ResidualCode, ScalarCode, IntegerCode or BinaryCode
        On the CPU.
    """
    unchanged = np.arange(embeddings.shape[1])
    if method == "binary":
        return unchanged, train_binary_code(embeddings, n_bytes, sample_weight=sample_weight)
    if method in FIXED_BITS:
        bits = FIXED_BITS[method]
        code = train_integer_code(embeddings, n_bytes, bits, sample_weight=sample_weight)
        return unchanged, code
    weights = error_weights(mean_squares(embeddings, sample_weight))
    if correlated:
        weights = np.ones_like(weights)
    if method == "scalar":
        return train_scalar_code(embeddings, n_bytes, weights=weights, sample_weight=sample_weight)
    if method == "product":
        beam_width = min(beam_width, _PRODUCT_BEAM_WIDTH)
    return train_residual_code(
        embeddings,
        n_bytes,
        n_bytes if correlated else _count_groups(method, n_bytes, embeddings.shape[1]),
        adjacent=correlated,
        weights=weights,
        beam_width=beam_width,
        sample_weight=sample_weight,
        random_state=random_state,
        device=device,
    )


def _count_groups(method: str, n_bytes: int, n_components: int) -> int:
    """Number of groups of dimensions.

    In a product code with fewer than two dimensions for each byte, a byte would be too much for
    some dimensions and too little for others: two bytes together code twice as many dimensions.
    """
    if method == "residual":
        few = n_bytes <= _MAX_BYTES_OF_ONE_GROUP
        return 1 if few else math.ceil(n_bytes / _BYTES_OF_A_GROUP)
    return n_bytes if 2 * n_bytes <= n_components else max(1, n_bytes // 2)


def code_of_state(method: str, state: dict[str, torch.Tensor]) -> Any:
    """Restore a code from its state dict.

    Raises a TypeError if it is not the state of a code of this method.
    """
    return _CODES.get(method, ResidualCode)(**state)
