"""Conversion of rows to tensors, and access to rows in chunks or by index."""

import mmap
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from skperco.utils._types import Rows

_ROWS_BETWEEN_RELEASES = 64


def as_tensor(
    array: Rows, *, device: torch.device, dtype: torch.dtype, copy: bool = True
) -> torch.Tensor:
    """Convert a dense or CSR array to a tensor of the same layout.

    Dense rows are copied, since a user's module may modify its input in place. With ``copy=False``
    they are copied only if a tensor cannot share their memory.
    """
    if not sp.issparse(array):
        array = np.array(array, order="C") if copy else np.require(array, requirements=["C", "W"])
        return torch.from_numpy(array).to(device, dtype)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse (CSR|invariant)")
        return torch.sparse_csr_tensor(
            torch.from_numpy(array.indptr).long(),
            torch.from_numpy(array.indices).long(),
            torch.from_numpy(array.data).to(dtype),
            size=array.shape,
            device=device,
        )


def input_dtype(array: Any, floating: torch.dtype = torch.float32) -> torch.dtype:
    """Return the dtype of a student's input: int64 or bool for integers or booleans."""
    return {"b": torch.bool, "i": torch.int64, "u": torch.int64}.get(array.dtype.kind, floating)


def chunks(n_rows: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` rows that cover all rows."""
    return (slice(start, min(start + size, n_rows)) for start in range(0, n_rows, size))


class MappedRows:
    """The result of a function of rows, computed at each access.

    Parameters
    ----------
    array : ndarray, CSR or MappedRows of shape (n_rows, ...)
    function : callable
        From some rows to an ndarray of shape (n_rows, n_columns).
    n_columns : int
    """

    def __init__(
        self, array: "Rows | MappedRows", function: Callable[[Any], NDArray[Any]], n_columns: int
    ) -> None:
        self.array = array
        self.function = function
        self.shape: tuple[int, int] = (array.shape[0], n_columns)

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        return self.function(self.array[rows])

    def take(self, indices: NDArray[Any]) -> "MappedRows":
        """Select rows by their indices."""
        return MappedRows(take_rows(self.array, indices), self.function, self.shape[1])


AnyRows: TypeAlias = Rows | MappedRows


def blocks(array: AnyRows, size: int) -> Iterator[tuple[slice, Any]]:
    """Iterate over blocks of `size` rows: the slice of each, and its rows.

    The pages of a memory-mapped file are released after each block, by madvise.
    """
    mapping = _shared_mapping(array)
    for rows in chunks(array.shape[0], size):
        yield rows, array[rows]
        if mapping is not None:
            mapping.madvise(mmap.MADV_DONTNEED)


def is_mapped(array: Any) -> bool:
    """Whether the rows are in a memory-mapped file."""
    return _shared_mapping(array) is not None


def take_rows(array: Any, indices: NDArray[Any]) -> Any:
    """Select rows by their indices, without keeping the surrounding pages of a file in memory.

    For a memory-mapped file the system may load a megabyte around each row that is read. These
    pages are released after every few rows, by madvise.
    """
    mapping = _shared_mapping(array)
    if mapping is None:
        return array[indices]
    taken = np.empty((len(indices), *array.shape[1:]), dtype=array.dtype)
    for rows in chunks(len(indices), _ROWS_BETWEEN_RELEASES):
        taken[rows] = array[indices[rows]]
        mapping.madvise(mmap.MADV_DONTNEED)
    return taken


def _shared_mapping(array: Any) -> mmap.mmap | None:
    """Return the memory map of which an array is a view; None without one, or if copy-on-write."""
    while isinstance(array, MappedRows):
        array = array.array
    while isinstance(array, np.ndarray):
        if getattr(array, "mode", "r") == "c":
            return None
        array = array.base
    return array if isinstance(array, mmap.mmap) and hasattr(array, "madvise") else None


class RowTaker:
    """Select rows of an array by index, as tensors of float32, int64 or bool.

    Parameters
    ----------
    array : ndarray of shape (n_rows, ...) or CSR
    device : torch.device
    dropout : float, default=0.0
        Fraction of the entries to set to zero, drawn anew at each call; the others are not scaled.
    generator : torch.Generator, default=None
        On the CPU; for the dropout.
    """

    def __init__(
        self,
        array: Rows,
        device: torch.device,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        # Dense rows are moved to the device once. Sparse rows are indexed by SciPy, and rows of a
        # file are read from it, at each call.
        self.is_on_device = not (sp.issparse(array) or is_mapped(array))
        self.array: Any = array
        if self.is_on_device:
            self.array = as_tensor(array, device=device, dtype=input_dtype(array))
        self.device = device
        self.dropout = dropout
        self.generator = generator

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        if self.is_on_device:
            return self._drop(self.array.index_select(0, rows))
        taken = take_rows(self.array, rows.cpu().numpy())
        if not sp.issparse(taken):
            return self._drop(as_tensor(taken, device=self.device, dtype=input_dtype(taken)))
        if self.dropout:
            taken.data *= self._dropout_mask(taken.data.shape).numpy()
        return as_tensor(taken, device=self.device, dtype=torch.float32)

    def all(self) -> torch.Tensor:
        """Select all rows."""
        if self.is_on_device:
            return self._drop(self.array)
        return self(torch.arange(self.array.shape[0], device="cpu"))

    def _drop(self, rows: torch.Tensor) -> torch.Tensor:
        """Apply the dropout."""
        return rows * self._dropout_mask(rows.shape).to(self.device) if self.dropout else rows

    def _dropout_mask(self, shape: tuple[int, ...]) -> torch.Tensor:
        drawn = torch.rand(shape, generator=self.generator, dtype=torch.float32, device="cpu")
        return drawn >= self.dropout


def stacked(rows: Rows | None, more: Rows | None, name: str) -> Rows | None:
    """Stack the rows of two batches; None if both are None.

    Raises
    ------
    ValueError
        If only one of them is sparse, or None, or they differ in their number of features.
    """
    kinds = [
        "None" if part is None else "sparse rows" if sp.issparse(part) else "dense rows"
        for part in (rows, more)
    ]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"{name} must be of the same kind in all batches, got {kinds[1]} after {kinds[0]}."
        )
    if rows is None or more is None:
        return None
    if rows.shape[1:] != more.shape[1:]:
        shapes = [
            shape[0] if len(shape) == 1 else shape for shape in (more.shape[1:], rows.shape[1:])
        ]
        raise ValueError(
            f"{name} must have the same number of features in all batches, got {shapes[0]} after "
            f"{shapes[1]}."
        )
    return sp.vstack([rows, more], format="csr") if sp.issparse(rows) else np.vstack([rows, more])
