"""Conversion of tensors and columns of vectors to arrays."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skperco.utils._dask import is_lazy


def as_array(data: Any, name: str) -> Any:
    """Convert tensors and columns of vectors to arrays; return other data unchanged.

    Raises
    ------
    TypeError
        If a tensor is sparse, a polars frame is lazy, or an array contains dates or durations.
    ValueError
        If the vectors of a column differ in length, or one is missing; or if entries of an array
        are masked, or a tensor has no values.
    """
    check_collected(data, name)
    if isinstance(data, np.ndarray):
        _check_entries(data, name)
    if isinstance(data, torch.Tensor):
        return _array_of_tensor(data, name)
    column = as_column(data)
    return data if column is None else stacked_rows(column, name)


def check_collected(data: Any, name: str) -> None:
    """Raise a TypeError if `data` is a LazyFrame of polars, which has not been computed."""
    if type(data).__name__ == "LazyFrame":
        raise TypeError(f"{name} is a LazyFrame, which has no rows yet: pass {name}.collect().")


def _check_entries(array: NDArray[Any], name: str) -> None:
    """Raise an error if scikit-learn's `check_array` would misread the entries."""
    if array.dtype.kind in "mM":
        raise TypeError(f"{name} must contain numbers, got {array.dtype}.")
    if np.ma.is_masked(array):
        raise ValueError(f"{name} must have no masked entries: fill them, or drop their rows.")


def _array_of_tensor(tensor: torch.Tensor, name: str) -> NDArray[Any]:
    if tensor.layout != torch.strided:
        raise TypeError(
            f"{name} must be a dense tensor, got layout {tensor.layout}: pass sparse rows as a "
            "SciPy matrix."
        )
    if tensor.is_meta:
        raise ValueError(f"{name} must have values, got a tensor on the 'meta' device.")
    tensor = tensor.detach().cpu()
    # NumPy has no bfloat16.
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def as_column(data: Any) -> NDArray[Any] | None:
    """Return a column of vectors as an array; None for other data.

    A column is a Series, an array of objects, a frame with one column, or a list of arrays or
    tensors, whose dtype scikit-learn's `check_array` would not keep. The array is
    two-dimensional if the column stores its vectors as one matrix, and an array of objects
    otherwise.
    """
    if _is_list_of_arrays(data):
        return _pack_objects(data)
    if is_lazy(data) or isinstance(data, torch.Tensor):
        return None
    shape = tuple(getattr(data, "shape", ()))
    # The `columns` of a PyArrow table are arrays, not names.
    if shape[1:] == (1,) and hasattr(data, "columns") and not hasattr(data, "column_names"):
        data, shape = data[data.columns[0]], shape[:1]
    if len(shape) != 1:
        return None
    values = np.asarray(data)
    holds_vectors = values.ndim > 1 or (values.dtype == object and any(map(_is_vector, values)))
    return values if holds_vectors else None


def _pack_objects(values: list[Any] | tuple[Any, ...]) -> NDArray[Any]:
    """One-dimensional array of objects, which NumPy does not convert to an array of numbers."""
    packed = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        packed[i] = value
    return packed


def _is_list_of_arrays(data: Any) -> bool:
    if not isinstance(data, (list, tuple)):
        return False
    return any(isinstance(row, (np.ndarray, torch.Tensor)) for row in data)


def holds_floats(column: NDArray[Any], name: str) -> bool:
    """Whether the first vector of a column holds floating-point numbers."""
    if column.dtype != object:
        return column.dtype.kind == "f"
    first = next(filter(_is_vector, column))
    return np.asarray(as_array(first, name)).dtype.kind == "f"


def _is_vector(value: Any) -> bool:
    return isinstance(value, (list, tuple, np.ndarray, torch.Tensor)) or hasattr(value, "to_numpy")


def stacked_rows(column: NDArray[Any], name: str) -> NDArray[Any]:
    """Stack the vectors of a column into a matrix."""
    if column.dtype != object:
        return column
    for i, value in enumerate(column):
        if not _is_vector(value):
            raise ValueError(
                f"{name} must hold a vector in each row, got {value!r} in row {i}: drop or "
                "fill missing rows."
            )
    rows = [np.asarray(as_array(value, name)) for value in column]
    for i, row in enumerate(rows):
        if row.shape != rows[0].shape:
            raise ValueError(
                f"{name} must hold vectors of one length, got shape {row.shape} in row {i} "
                f"after {rows[0].shape}: truncate or pad them, then pass np.stack of them."
            )
    return np.stack(rows)
