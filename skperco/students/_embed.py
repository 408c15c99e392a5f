"""Embeddings of all rows by a fitted student, and other functions of rows, chunk by chunk."""

import copy
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import torch
from numpy.typing import NDArray

from skperco.dissimilarity._dense import unit_rows
from skperco.students._builtin import is_built_in
from skperco.utils._chunking import as_tensor, blocks, input_dtype
from skperco.utils._randomness import evaluation_randomness
from skperco.utils._types import Rows

# Larger chunks were not faster on two threads, and chunks of this size need little memory.
_ROWS_PER_CHUNK = 2**13

# Fewer rows, since the memory that a user-defined module needs for each row is not known.
_ROWS_PER_CHUNK_OF_MODULES = 2**9


@torch.no_grad()
def embed(
    student: torch.nn.Module,
    X: Rows,
    *,
    device: torch.device,
    unit_norm: bool,
    out: NDArray | None = None,
) -> NDArray:
    """Embeddings of all rows, chunk by chunk, in double precision if X is, else in single.

    Parameters
    ----------
    student : torch.nn.Module
    X : ndarray of shape (n_samples, ...) or CSR
    device : torch.device
    unit_norm : bool
        Whether to scale the embeddings to unit norm.
    out : ndarray of shape (n_samples, n_components), default=None
        Array to write them to; a new one if None.

    Returns
    -------
    embeddings : ndarray of shape (n_samples, n_components)
    """
    dtype = torch.float64 if X.dtype == np.float64 else torch.float32
    built_in = is_built_in(student)
    student = copy.deepcopy(student).to(device, dtype).eval()

    def embed_block(rows: torch.Tensor) -> torch.Tensor:
        embeddings = student(rows)
        return unit_rows(embeddings) if unit_norm else embeddings

    with nullcontext() if built_in else evaluation_randomness(device):
        return apply_to_rows(
            embed_block,
            X,
            device=device,
            dtype=input_dtype(X, dtype),
            size=_ROWS_PER_CHUNK if built_in else _ROWS_PER_CHUNK_OF_MODULES,
            copy=not built_in,
            out=out,
        )


@torch.no_grad()
def apply_to_rows(
    function: Callable[[torch.Tensor], torch.Tensor],
    X: Rows,
    *,
    device: torch.device,
    dtype: torch.dtype,
    size: int,
    copy: bool = False,
    out: NDArray | None = None,
) -> NDArray:
    """Results of a function of tensors for all rows, chunk by chunk.

    Parameters
    ----------
    function : callable
        From a tensor of shape (n_rows, ...) to one of shape (n_rows, n_columns).
    X : ndarray of shape (n_samples, ...) or CSR
    device : torch.device
    dtype : torch.dtype
        Of the function's input.
    size : int
        Number of rows of a chunk.
    copy : bool, default=False
        Whether the function may modify its input.
    out : ndarray of shape (n_samples, n_columns), default=None
        Array to write the results to; a new one if None.

    Returns
    -------
    results : ndarray of shape (n_samples, n_columns)
    """
    for rows, block in blocks(X, size):
        results = function(as_tensor(block, device=device, dtype=dtype, copy=copy)).cpu().numpy()
        if out is None:
            out = np.empty((X.shape[0], results.shape[1]), dtype=results.dtype)
        out[rows] = results
    assert out is not None, "X has at least one row"
    return out
