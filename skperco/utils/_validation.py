"""Checks of arguments that several modules share; each message names the argument."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import assert_all_finite, check_array
from sklearn.utils.validation import validate_data

from skperco.utils._arrays import (
    as_array,
    as_column,
    check_collected,
    holds_floats,
    stacked_rows,
)
from skperco.utils._chunking import blocks, is_mapped
from skperco.utils._dask import LazyRows, is_lazy
from skperco.utils._types import Metric, Rows

_ROWS_PER_BLOCK = 2**13
# Metrics that can be computed for sparse rows.
SPARSE_METRICS = ("cosine", "euclidean", "manhattan", "sqeuclidean")
_SMALLEST_PEAK = 1e-15
_LARGEST_PEAK = 1e15
# Names of dtypes; those of columns that pyarrow stores differ from NumPy's.
_SINGLE = {"float16", "float32", "halffloat[pyarrow]", "float[pyarrow]"}
_FLOATING = ("float", "halffloat", "double")


def float_types(data: Any) -> list[type[np.floating]]:
    """Floating dtypes for `check_array`: it keeps these, and converts others to the first.

    Half precision becomes single. Frames of single precision are listed separately, since some
    would otherwise become arrays of double precision.
    """
    return [np.float32] if set(_dtype_names(data)) <= _SINGLE else [np.float64, np.float32]


def _dtype_names(data: Any) -> list[str]:
    """Names of the dtypes of an array, or of a frame's columns, without their byte order."""
    dtypes = [data.dtype] if hasattr(data, "dtype") else getattr(data, "dtypes", [None])
    return [str(getattr(dtype, "name", dtype)).lower() for dtype in dtypes]


def numeric_types(data: Any) -> list[type[np.floating]] | None:
    """Dtypes as from :func:`float_types`; None, to keep the dtype, for integers and booleans."""
    kind = getattr(getattr(data, "dtype", None), "kind", None)
    return None if kind in {"b", "i", "u"} else float_types(data)


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Prepend the name of the argument to error messages that lack it."""
    try:
        yield
    except ValueError as error:
        if re.search(rf"\b{name}\b", str(error)):
            raise
        raise ValueError(f"{name}: {error}") from error


def canonical(matrix: sp.csr_array) -> sp.csr_array:
    """Return a CSR matrix with sorted indices and no duplicates; a copy if it has to be changed.

    The rounding of sums then does not depend on the order in which entries are stored.
    """
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
    return matrix


def check_embeddings(
    embeddings: Any,
    name: str,
    *,
    metric: Metric = "cosine",
    accept_sparse: bool = False,
    lazy: bool = False,
) -> Any:
    """Return `embeddings` as a finite 2-D float array, or a valid dissimilarity matrix.

    Parameters
    ----------
    embeddings : array-like of shape (n_samples, n_features)
        With ``metric="precomputed"`` a square matrix of non-negative dissimilarities.
    name : str
        Name of the argument, for error messages.
    metric : str or callable, default="cosine"
    accept_sparse : bool, default=False
    lazy : bool, default=False
        Return numeric arrays of any dtype without reading or converting them, since they may be
        memory-mapped, and Dask collections as LazyRows. Their values are not checked.

    Returns
    -------
    embeddings : ndarray of shape (n_samples, n_features), float32 or float64
        Or CSR with `accept_sparse`, if the metric supports it; or LazyRows.
    """
    if lazy and is_lazy(embeddings):
        return _lazy_rows(embeddings, name, metric)
    embeddings = as_array(embeddings, name)
    lazy = lazy and isinstance(embeddings, np.ndarray) and embeddings.dtype.kind in "fiu"
    with naming(name):
        embeddings = check_array(
            embeddings,
            accept_sparse="csr" if accept_sparse else False,
            dtype=None if lazy else float_types(embeddings),
            order=None if lazy or is_mapped(embeddings) else "C",
            ensure_all_finite=not (lazy or is_mapped(embeddings)),
            input_name=name,
            estimator=name,
        )
    if is_mapped(embeddings) and not lazy:
        check_finite_blocks(embeddings, name)
    if sp.issparse(embeddings):
        check_sparse_metric(metric, name)
        embeddings = canonical(embeddings)
    if isinstance(metric, str) and metric == "precomputed":
        _check_square(embeddings, name)
        if not lazy:
            check_no_negative(embeddings, name)
    return embeddings


def _lazy_rows(data: Any, name: str, metric: Metric) -> LazyRows:
    if isinstance(metric, str) and metric == "precomputed":
        raise ValueError(
            f"{name} must be in memory, or memory-mapped, when its metric is 'precomputed', got a "
            "Dask collection."
        )
    return LazyRows(data, name)


def check_rows(estimator: BaseEstimator, X: Any, *, integers: bool = False, **options: Any) -> Rows:
    """Return the input of an estimator as an array of floating-point numbers or in CSR.

    Parameters
    ----------
    estimator : BaseEstimator
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
    integers : bool, default=False
        Whether integers are kept as such, and rows may have any number of dimensions.
    **options : dict
        Other arguments of scikit-learn's `validate_data`.

    Returns
    -------
    X : ndarray or CSR of shape (n_samples, n_features)
    """
    X = as_array(X, "X")
    options |= {"accept_sparse": "csr", "dtype": float_types(X)}
    if integers:
        options |= {"allow_nd": True, "dtype": numeric_types(X)}
    # A memory map is checked in blocks, to bound the memory.
    mapped = options.get("ensure_all_finite", True) and is_mapped(X)
    if mapped:
        options |= {"ensure_all_finite": False}
    else:
        # The rounding of a matrix product depends on the layout of its factors.
        options |= {"order": "C"}
    with naming("X"):
        X = validate_data(estimator, X, **options)
    if mapped and X.dtype.kind == "f":
        check_finite_blocks(X, "X")
    return canonical(X) if sp.issparse(X) else X


def check_finite_blocks(array: Rows, name: str) -> None:
    """Raise a ValueError unless all entries are finite; read a file block by block."""
    for _, block in blocks(array, _ROWS_PER_BLOCK):
        assert_all_finite(block, input_name=name)


def _check_square(matrix: NDArray[Any], name: str) -> None:
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(
            f"{name} must be a square dissimilarity matrix when its metric is 'precomputed', "
            f"got shape {matrix.shape}."
        )


def check_no_negative(dissimilarities: NDArray[Any], name: str) -> None:
    """Raise a ValueError if a precomputed dissimilarity is negative."""
    least = dissimilarities.min(initial=0)
    if least < 0:
        raise ValueError(
            f"{name} must hold non-negative dissimilarities when its metric is 'precomputed', "
            f"got {least}: convert similarities by subtracting them from their maximum."
        )


def check_magnitude(array: Rows, name: str) -> None:
    """Raise a ValueError if squares of the entries would overflow or underflow in float32."""
    peak = 0.0
    for _, block in blocks(array, _ROWS_PER_BLOCK):
        entries = block.data if sp.issparse(block) else block
        peak = max(peak, entries.max(initial=0), -entries.min(initial=0))
    if peak and not _SMALLEST_PEAK <= peak <= _LARGEST_PEAK:
        raise ValueError(
            f"{name} must have its largest entry between {_SMALLEST_PEAK} and {_LARGEST_PEAK} in "
            f"magnitude, got {peak}: rescale it, which does not change the ranks."
        )


def check_output(
    out: Any, n_rows: int, n_columns: int, dtypes: Sequence[str] = ("float32", "float64")
) -> None:
    """Raise a TypeError or ValueError unless `out` is a writeable array of this shape."""
    if not isinstance(out, np.ndarray) or out.dtype not in dtypes:
        found = f"an array of {out.dtype}" if isinstance(out, np.ndarray) else f"{out!r}"
        raise TypeError(f"out must be an ndarray of {' or '.join(dtypes)}, got {found}.")
    if out.shape != (n_rows, n_columns) or not out.flags.writeable:
        state = "" if out.flags.writeable else " that is read-only"
        raise ValueError(
            f"out must be a writeable array of shape ({n_rows}, {n_columns}), got one of shape "
            f"{out.shape}{state}."
        )


def check_same_rows(first: Any, second: Any, first_name: str, second_name: str) -> None:
    """Raise a ValueError if the two do not have the same number of rows."""
    if first.shape[0] != second.shape[0]:
        raise ValueError(
            f"{first_name} and {second_name} must describe the same rows, "
            f"got {first.shape[0]} and {second.shape[0]} rows."
        )


def check_sample_weight(sample_weight: Any, n_samples: int) -> NDArray[np.float64]:
    """Return float64 sample weights of shape (n_samples,), with at least one above zero."""
    if sample_weight is None:
        return np.ones(n_samples)
    weights = check_array(
        as_array(sample_weight, "sample_weight"),
        dtype=np.float64,
        ensure_2d=False,
        input_name="sample_weight",
    )
    if weights.shape != (n_samples,):
        raise ValueError(
            f"sample_weight must have one entry per row, shape ({n_samples},), "
            f"got shape {weights.shape}."
        )
    if weights.min() < 0:
        raise ValueError(f"sample_weight must be non-negative, got {weights.min()}.")
    if not weights.any():
        raise ValueError("sample_weight must have at least one positive entry, got only zeros.")
    return weights


def given_teacher(y: Any, teacher_embeddings: Any, default: Any = None) -> Any:
    """Return `teacher_embeddings` if given, else `y` if it holds embeddings, else the default."""
    if teacher_embeddings is not None:
        return teacher_embeddings
    embeddings = None if y is None else _embeddings_in(y)
    return default if embeddings is None else embeddings


def _embeddings_in(y: Any) -> Any:
    """Return `y` if it has floating-point numbers and more than one column; None for labels.

    A column of vectors becomes a matrix.
    """
    check_collected(y, "y")
    column = as_column(y)
    if column is not None:
        # Vectors of labels may differ in length, so they cannot be stacked.
        if not holds_floats(column, "y"):
            return None
        y = stacked_rows(column, "y")
    elif not hasattr(y, "shape"):
        with naming("y"):
            y = np.asarray(y)
    if len(y.shape) < 2 or tuple(y.shape[1:]) == (1,):
        return None
    if isinstance(y, torch.Tensor):
        return y if y.is_floating_point() else None
    return y if all(name.startswith(_FLOATING) for name in _dtype_names(y)) else None


def is_sparse_metric(metric: Metric) -> bool:
    """Whether this metric can be computed for sparse rows."""
    return isinstance(metric, str) and metric in SPARSE_METRICS


def check_sparse_metric(metric: Metric, name: str) -> None:
    """Raise a ValueError unless this metric can be computed for sparse rows."""
    if not is_sparse_metric(metric):
        raise ValueError(
            f"{name} is sparse: its metric must be one of {list(SPARSE_METRICS)}, got {metric!r}. "
            "Choose one of them, or make the rows dense, for instance with TruncatedSVD."
        )
