"""Dask arrays and frames: lazy embeddings by chunk, and selection of rows."""

import copy
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from skperco.utils._optional_imports import import_extra


def is_lazy(data: Any) -> bool:
    """Whether this is a Dask array or frame."""
    return type(data).__module__.startswith(("dask.array", "dask.dataframe"))


def is_frame(data: Any) -> bool:
    """Whether this Dask collection is a frame."""
    return hasattr(data, "map_partitions")


class LazyOutputMixin:
    """Exempts Dask arrays and frames from scikit-learn's `set_output`, which would compute them.

    It must come before scikit-learn's classes in the list of bases.
    """

    fit: Callable[..., Any]
    transform: Callable[..., Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "transform" in vars(cls):
            cls.transform = _without_container(cls.transform)

    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> Any:
        """Fit to X, then transform it; lazily if X is a Dask array or data frame.

        Parameters
        ----------
        X, y
            As in ``fit``.
        **fit_params : dict
            Other arguments of ``fit``.

        Returns
        -------
        embeddings : ndarray of shape (n_samples, n_components)
            Or another container, as from ``transform``.
        """
        if is_lazy(X):
            return self.fit(X, y, **fit_params).transform(X)
        # scikit-learn's TransformerMixin, which comes later among the bases, has the method.
        return super().fit_transform(X, y, **fit_params)  # type: ignore[misc]


def _without_container(transform: Any) -> Callable[..., Any]:
    """Bypass the wrapper that scikit-learn puts around a method, for Dask arrays and frames."""

    @wraps(transform)
    def chosen(self: Any, X: Any, *args: Any, **kwargs: Any) -> Any:
        return (transform.__wrapped__ if is_lazy(X) else transform)(self, X, *args, **kwargs)

    return chosen


def embed_lazily(transform: Callable[..., Any], distiller: Any, data: Any, dtype: DTypeLike) -> Any:
    """Embed a Dask array or frame lazily, chunk by chunk.

    Parameters
    ----------
    transform : callable
        Takes a distiller and rows in memory: `CoherenceDistiller.transform`. Not
        ``distiller.transform``, since in a subclass that method may call this function.
    distiller : CoherenceDistiller
        Fitted.
    data : dask array or frame of shape (n_samples, n_features)
    dtype : type
        Of the embeddings that :meth:`CoherenceDistiller.transform` returns for such data.

    Returns
    -------
    embeddings : dask array or frame of shape (n_samples, n_components)
        A frame has the index of `data`.
    """
    worker = _without_rows(distiller)
    empty = np.empty((0, worker.n_components_), dtype=dtype)
    if is_frame(data):
        empty = _as_frame(worker, empty, data._meta.index[:0])
        return data.map_partitions(_embed_part, transform, worker, empty, meta=empty)
    data = data.rechunk({1: -1})
    chunks = (data.chunks[0], (worker.n_components_,))
    embed = partial(_embed_block, transform, worker, empty)
    return data.map_blocks(embed, dtype=dtype, chunks=chunks, meta=empty)


class LazyRows:
    """Rows of a Dask array or frame, computed when they are selected.

    Parameters
    ----------
    data : dask array or frame of shape (n_samples, n_features)
    name : str
        Name of the argument, for error messages.
    """

    ndim = 2

    def __init__(self, data: Any, name: str) -> None:
        array = data.to_dask_array(lengths=True) if is_frame(data) else data
        if array.ndim != 2 or array.dtype.kind not in "fiu":
            raise ValueError(
                f"{name} must be a matrix of numbers, got {array.ndim} dimensions of {array.dtype}."
            )
        self.array = array.compute_chunk_sizes() if np.isnan(array.shape).any() else array
        self.shape = self.array.shape
        self.dtype = self.array.dtype
        self._cached_indices: NDArray[Any] | None = None
        self._cached_rows: Any = None

    def __getitem__(self, indices: NDArray[Any]) -> NDArray[Any]:
        """Select rows by their indices: from the cache if it holds all of them."""
        unique, inverse = np.unique(indices, return_inverse=True)
        cached = self._cached_indices
        if cached is not None:
            positions = np.searchsorted(cached, unique)
            if (cached[positions.clip(max=len(cached) - 1)] == unique).all():
                return self._cached_rows[positions[inverse]]
        return self.array[unique].compute()[inverse]

    def cache(self, indices: NDArray[Any], rows: NDArray[Any]) -> None:
        """Cache rows, whose indices are in ascending order."""
        self._cached_indices, self._cached_rows = indices, rows


def fetch(arrays: list[LazyRows], indices: NDArray[Any]) -> None:
    """Compute the same rows of several arrays at once, and cache them.

    Parameters
    ----------
    arrays : list of LazyRows
        Parts that their graphs share are computed once.
    indices : ndarray of int
        In ascending order, without duplicates.
    """
    dask = import_extra("dask", "dask", "for Dask arrays and frames")
    computed = dask.compute(*(lazy.array[indices] for lazy in arrays))
    for lazy, rows in zip(arrays, computed, strict=True):
        lazy.cache(indices, rows)


def _without_rows(distiller: Any) -> Any:
    """Copy a distiller without the rows of its stream, which workers do not need."""
    worker = copy.copy(distiller)
    worker._stream = None
    worker._sklearn_output_config = {"transform": "default"}
    return worker


def _embed_block(
    transform: Callable[..., Any], worker: Any, empty: NDArray[Any], rows: NDArray[Any]
) -> NDArray[Any]:
    return transform(worker, rows) if len(rows) else empty


def _embed_part(frame: Any, transform: Callable[..., Any], worker: Any, empty: Any) -> Any:
    return _as_frame(worker, transform(worker, frame), frame.index) if len(frame) else empty


def _as_frame(worker: Any, embeddings: NDArray[Any], index: Any) -> Any:
    pandas = import_extra("pandas", "dask", "for Dask frames")
    columns = worker.get_feature_names_out()
    return pandas.DataFrame(embeddings, index=index, columns=columns)
