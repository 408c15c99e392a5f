"""Rows of arrays and sparse matrices as tensors, a few at a time."""

import mmap
import warnings

import numpy as np
import scipy.sparse as sp
import torch

from skperco.utils._dask import LazyRows

_MAPPED_ROWS = 64


def as_tensor(array, *, device, dtype, copy=True):
    """A dense or CSR array as a tensor of the same layout.

    Dense rows are copied, since modules of the user's own may change what they are given; if
    `copy` is False, only those that cannot be a tensor as they are.
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


def input_dtype(array, floating=torch.float32):
    """Type in which a student gets rows of an array: numbers that count stay as they are."""
    return {"b": torch.bool, "i": torch.int64, "u": torch.int64}.get(array.dtype.kind, floating)


def chunks(n_rows, size):
    """Slices of at most `size` that cover the rows."""
    return (slice(start, min(start + size, n_rows)) for start in range(0, n_rows, size))


class MappedRows:
    """Rows of an array through a function, computed whenever they are asked for.

    Parameters
    ----------
    array : ndarray, CSR or MappedRows of shape (n_rows, ...)
    function : callable
        From some rows to an ndarray of shape (n_rows, n_columns).
    n_columns : int
    """

    def __init__(self, array, function, n_columns):
        self.array = array
        self.function = function
        self.shape = (array.shape[0], n_columns)

    def __getitem__(self, rows):
        return self.function(self.array[rows])

    def take(self, numbers):
        """Only the rows of these numbers."""
        return MappedRows(take_rows(self.array, numbers), self.function, self.shape[1])


def blocks(array, size):
    """Rows of an array, `size` at a time, and their slices.

    The pages of a memory-mapped file are released after each block, by madvise.
    """
    mapping = _shared_mapping(array)
    for rows in chunks(array.shape[0], size):
        yield rows, array[rows]
        if mapping is not None:
            mapping.madvise(mmap.MADV_DONTNEED)


def is_mapped(array):
    """Whether the rows are in a file that is mapped into memory."""
    return _shared_mapping(array) is not None


def take_rows(array, numbers):
    """Rows of an array by their indices, without keeping the pages around them in memory.

    For a memory-mapped file the system may hold a megabyte around each row that is read. These
    pages are released after every few rows, by madvise.
    """
    if isinstance(array, LazyRows):
        return array.take(numbers)
    mapping = _shared_mapping(array)
    if mapping is None:
        return array[numbers]
    taken = np.empty((len(numbers), *array.shape[1:]), dtype=array.dtype)
    for rows in chunks(len(numbers), _MAPPED_ROWS):
        taken[rows] = array[numbers[rows]]
        mapping.madvise(mmap.MADV_DONTNEED)
    return taken


def _shared_mapping(array):
    """The memory map of which an array is a view, unless it is copy-on-write; None without one."""
    while isinstance(array, MappedRows):
        array = array.array
    while isinstance(array, np.ndarray):
        if getattr(array, "mode", "r") == "c":
            return None
        array = array.base
    return array if isinstance(array, mmap.mmap) and hasattr(array, "madvise") else None


class RowTaker:
    """Takes rows of an array by their numbers, as tensors of single precision, or of integers.

    Parameters
    ----------
    array : ndarray of shape (n_rows, ...) or CSR
    device : torch.device
    dropout : float, default=0.0
        Share of the entries to set to zero, others at each call.
    generator : torch.Generator, default=None
        On the CPU; for the dropout.
    """

    def __init__(self, array, device, dropout=0.0, generator=None):
        # Dense rows stay on the device; sparse ones are taken where SciPy indexes them, and those
        # of a file where it is mapped.
        self.is_elsewhere = sp.issparse(array) or is_mapped(array)
        if not self.is_elsewhere:
            array = as_tensor(array, device=device, dtype=input_dtype(array))
        self.array = array
        self.device = device
        self.dropout = dropout
        self.generator = generator

    def __call__(self, rows):
        if not self.is_elsewhere:
            return self._hidden(self.array.index_select(0, rows))
        taken = take_rows(self.array, rows.cpu().numpy())
        if not sp.issparse(taken):
            return self._hidden(as_tensor(taken, device=self.device, dtype=input_dtype(taken)))
        if self.dropout:
            taken.data *= self._check_warm_start(taken.data.shape).numpy()
        return as_tensor(taken, device=self.device, dtype=torch.float32)

    def all(self):
        """Every row."""
        if self.is_elsewhere:
            return self(torch.arange(self.array.shape[0], device="cpu"))
        return self._hidden(self.array)

    def _hidden(self, rows):
        """Rows without the entries that the dropout takes."""
        return rows * self._check_warm_start(rows.shape).to(self.device) if self.dropout else rows

    def _check_warm_start(self, shape):
        drawn = torch.rand(shape, generator=self.generator, dtype=torch.float32, device="cpu")
        return drawn >= self.dropout


def stacked(rows, more, name):
    """The rows of all batches together."""
    if rows is None and more is None:
        return None
    kinds = [
        "nothing" if part is None else "sparse rows" if sp.issparse(part) else "dense rows"
        for part in (rows, more)
    ]
    if kinds[0] != kinds[1]:
        raise ValueError(f"{name} must be alike in all batches, got {kinds[1]} after {kinds[0]}.")
    if rows.shape[1:] != more.shape[1:]:
        shapes = [
            shape[0] if len(shape) == 1 else shape for shape in (more.shape[1:], rows.shape[1:])
        ]
        raise ValueError(
            f"{name} must have as many features in all batches, got {shapes[0]} after {shapes[1]}."
        )
    return sp.vstack([rows, more], format="csr") if sp.issparse(rows) else np.vstack([rows, more])
