"""Dask arrays and frames: embedded chunk by chunk, and read only where rows are drawn."""

import copy
from functools import partial, wraps

import numpy as np

from skperco.utils._optional_imports import import_extra


def is_lazy(data):
    """Whether this is a Dask array or frame."""
    return type(data).__module__.startswith(("dask.array", "dask.dataframe"))


def is_frame(data):
    """Whether this Dask collection is a frame."""
    return hasattr(data, "map_partitions")


class LazyOutputMixin:
    """Leaves Dask arrays and frames out of scikit-learn's `set_output`, which would compute them.

    It comes before scikit-learn's classes among the bases.
    """

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "transform" in vars(cls):
            cls.transform = _without_container(cls.transform)

    def fit_transform(self, X, y=None, **fit_params):
        """Fit to X, then transform it: lazily, if X is a Dask array or frame."""
        if is_lazy(X):
            return self.fit(X, y, **fit_params).transform(X)
        return super().fit_transform(X, y, **fit_params)


def _without_container(transform):
    """The method as it was before scikit-learn wrapped it, for Dask arrays and frames."""

    @wraps(transform)
    def chosen(self, X, *args, **kwargs):
        return (transform.__wrapped__ if is_lazy(X) else transform)(self, X, *args, **kwargs)

    return chosen


def embed_lazily(transform, distiller, data, dtype):
    """Embeddings as lazy as the rows, chunk by chunk.

    Parameters
    ----------
    transform : callable
        Takes a distiller and rows in memory: `CoherenceDistiller.transform`, which a subclass
        may have overridden by a method that calls this function.
    distiller : CoherenceDistiller
        Fitted.
    data : dask array or frame of shape (n_samples, n_features)
    dtype : type
        That :meth:`CoherenceDistiller.transform` gives the embeddings of such data.

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
    """Rows of a Dask array or frame, computed when they are taken.

    Parameters
    ----------
    data : dask array or frame of shape (n_samples, n_features)
    name : str
        What the caller calls it.
    """

    ndim = 2

    def __init__(self, data, name):
        array = data.to_dask_array(lengths=True) if is_frame(data) else data
        if array.ndim != 2 or array.dtype.kind not in "fiu":
            raise ValueError(
                f"{name} must be a table of numbers, got {array.ndim} dimensions of {array.dtype}."
            )
        self.array = array.compute_chunk_sizes() if np.isnan(array.shape).any() else array
        self.shape = self.array.shape
        self.dtype = self.array.dtype
        self._numbers = self._rows = None

    def take(self, numbers):
        """Rows by their numbers, an ndarray: those fetched before, or computed now."""
        sought, places = np.unique(numbers, return_inverse=True)
        if self._numbers is not None:
            at = np.searchsorted(self._numbers, sought)
            if (self._numbers[at.clip(max=len(self._numbers) - 1)] == sought).all():
                return self._rows[at[places]]
        return self.array[sought].compute()[places]

    def hold(self, numbers, rows):
        """Keep rows, whose numbers are in order, for later."""
        self._numbers, self._rows = numbers, rows


def fetch(tables, numbers):
    """Compute some rows of several tables at once, and hold them.

    Parameters
    ----------
    tables : list of LazyRows
        What they have in common is computed once.
    numbers : ndarray of int
        In order, each once.
    """
    dask = import_extra("dask", "dask", "for Dask arrays and frames")
    computed = dask.compute(*(table.array[numbers] for table in tables))
    for table, rows in zip(tables, computed, strict=True):
        table.hold(numbers, rows)


def _without_rows(distiller):
    """A copy to send to workers, which need no rows of a stream."""
    worker = copy.copy(distiller)
    worker._stream = None
    worker._sklearn_output_config = {"transform": "default"}
    return worker


def _embed_block(transform, worker, empty, rows):
    return transform(worker, rows) if len(rows) else empty


def _embed_part(frame, transform, worker, empty):
    return _as_frame(worker, transform(worker, frame), frame.index) if len(frame) else empty


def _as_frame(worker, embeddings, index):
    pandas = import_extra("pandas", "dask", "for Dask frames")
    columns = worker.get_feature_names_out()
    return pandas.DataFrame(embeddings, index=index, columns=columns)
