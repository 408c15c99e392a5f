"""Embeddings of all rows by a fitted student, chunk by chunk."""

import copy
from contextlib import nullcontext

import numpy as np
import torch

from skperco.dissimilarity._dense import unit_rows
from skperco.students._builtin import is_built_in
from skperco.students._custom import evaluation_randomness
from skperco.utils._chunking import as_tensor, blocks, input_dtype

# As fast as more of them, on two threads, and their memory is small.
_ROWS_PER_CHUNK = 2**13

# What a module of the user's own keeps of a row in memory is not known.
_ROWS_PER_CHUNK_OF_MODULES = 2**9


@torch.no_grad()
def embed(student, X, *, device, unit_norm, out=None):
    """Embeddings of all rows, chunk by chunk, computed and returned in double precision if X is.

    Parameters
    ----------
    student : torch.nn.Module
    X : ndarray of shape (n_samples, ...) or CSR
    device : torch.device
    unit_norm : bool
        Whether to scale the embeddings to unit norm.
    out : ndarray of shape (n_samples, n_components), default=None
        Where to write them.

    Returns
    -------
    embeddings : ndarray of shape (n_samples, n_components)
    """
    dtype = torch.float64 if X.dtype == np.float64 else torch.float32
    own = is_built_in(student)
    student = copy.deepcopy(student).to(device, dtype).eval()
    with nullcontext() if own else evaluation_randomness(device):
        for rows, block in blocks(X, _ROWS_PER_CHUNK if own else _ROWS_PER_CHUNK_OF_MODULES):
            taken = as_tensor(block, device=device, dtype=input_dtype(X, dtype), copy=not own)
            embeddings = student(taken)
            embeddings = (unit_rows(embeddings) if unit_norm else embeddings).cpu().numpy()
            if out is None:
                out = np.empty((X.shape[0], embeddings.shape[1]), dtype=embeddings.dtype)
            out[rows] = embeddings
    return out
