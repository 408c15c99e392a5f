"""Checks of arguments that are numbers or sequences of numbers."""

import math
import numbers
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def check_real(value: Any, name: str, expected: str) -> None:
    """Raise a TypeError unless `value` is a real number; `expected` completes the message."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be {expected}, got {value!r}.")


def check_count(value: Any, name: str, *, least: int, most: int | None = None) -> int:
    """Return `value` if it is an integer between `least` and `most`."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}.")
    count = int(value)
    if count < least or (most is not None and count > most):
        upper = "" if most is None else f" and at most {most}"
        raise ValueError(f"{name} must be at least {least}{upper}, got {count}.")
    return count


def check_number(
    value: Any, name: str, *, least: float = -math.inf, above: float = -math.inf
) -> None:
    """Raise a TypeError or ValueError unless `value` is a finite number within the bounds."""
    expected = "a finite number"
    if least > -math.inf:
        expected += f" of at least {least}"
    if above > -math.inf:
        expected += f" above {above}"
    check_real(value, name, expected)
    if not (least <= value and above < value and math.isfinite(value)):
        raise ValueError(f"{name} must be {expected}, got {value!r}.")


def check_share(value: Any, name: str) -> None:
    """Raise a TypeError or ValueError unless `value` is a number strictly between 0 and 1."""
    check_real(value, name, "a number")
    if not 0 < value < 1:
        raise ValueError(f"{name} must be between 0 and 1, got {value!r}.")


def check_tol(tol: Any, **counts: int | None) -> None:
    """Raise a TypeError or ValueError unless `tol` is None, or positive and the counts are None."""
    if tol is None:
        return
    check_number(tol, "tol", above=0)
    for name, number in counts.items():
        if number is not None:
            raise ValueError(
                f"{name} must be None when tol is given, since tol determines it, got {number!r}."
            )


def check_positive(values: ArrayLike, name: str) -> None:
    """Raise a ValueError unless `values` is a sequence of one or more positive finite numbers."""
    array = np.asarray(values)
    is_numeric = array.ndim == 1 and array.dtype.kind in "iuf" and len(array) > 0
    if not is_numeric or not np.isfinite(array).all() or array.min() <= 0:
        raise ValueError(f"{name} must contain positive finite numbers, got {values!r}.")


def check_layer_sizes(hidden_layer_sizes: ArrayLike) -> None:
    """Raise a ValueError unless there is at least one layer, each of at least one unit."""
    sizes = np.asarray(hidden_layer_sizes)
    if sizes.ndim != 1 or sizes.dtype.kind not in "iu" or not len(sizes) or sizes.min() < 1:
        raise ValueError(
            "hidden_layer_sizes must list the number of units of each hidden layer, integers of "
            f"at least 1, got {hidden_layer_sizes!r}."
        )
