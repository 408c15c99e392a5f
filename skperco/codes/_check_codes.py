"""Validation of codes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skperco.utils._arrays import as_array


def check_codes(codes: Any, n_bytes: int) -> NDArray[np.uint8]:
    """Return codes as an array.

    Raises a TypeError if they are not of dtype uint8, and a ValueError if their shape is not
    (n_samples, n_bytes).
    """
    codes = np.asarray(as_array(codes, "codes"))
    if codes.dtype != np.uint8:
        raise TypeError(f"codes must be of uint8, got {codes.dtype}.")
    if codes.ndim != 2 or codes.shape[1] != n_bytes:
        raise ValueError(
            f"codes must have shape (n_samples, {n_bytes}), as from encode, got {codes.shape}."
        )
    return codes
