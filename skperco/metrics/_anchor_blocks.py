"""Blockwise anchor-to-reference dissimilarities of several representations of the same samples."""

from functools import partial
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.utils import assert_all_finite
from sklearn.utils.parallel import Parallel, delayed

from skperco.dissimilarity._dense import check_no_nan, to_references
from skperco.dissimilarity._sparse import sparse_dissimilarity
from skperco.utils._chunking import chunks, take_rows
from skperco.utils._dask import LazyRows, fetch
from skperco.utils._validation import (
    check_count,
    check_device,
    check_embeddings,
    check_same_rows,
    check_sample_weight,
)

# Up to so many samples every anchor and every reference is used, unless numbers are given.
EXACT_SAMPLES = 4000
SAMPLED_ANCHORS = 1000
SAMPLED_REFERENCES = 2000
_ENTRIES_PER_BLOCK = 2**19
_LEAST_ANCHORS_PER_BLOCK = 8
_ROWS_PER_CHUNK = 2**14
# Distances whose difference is at most this fraction of the largest are ties, since the difference
# may be a rounding error.
_TIE_RTOL = 1e-12


class AnchorBlock(NamedTuple):
    """Dissimilarities of a block of anchors to references other than themselves.

    Attributes
    ----------
    positions : ndarray of shape (n_block,)
        Positions of these anchors among all anchors.
    own : ndarray of shape (n_block,)
        Position of each anchor among the references, all -1 if none is among them.
    dissimilarities : list of torch.Tensor of shape (n_block, n_others), float64
        To the references, in each representation.
    weights : torch.Tensor of shape (n_block, n_others), float64, or None
        Of the references; None if all weigh the same.
    """

    positions: np.ndarray
    own: np.ndarray
    dissimilarities: list
    weights: torch.Tensor | None


class Views:
    """Representations of the same samples, checked; without the samples of weight zero.

    Values are checked when they are read, and only those that are read.

    Parameters
    ----------
    representations : dict
        What the caller calls each, to the array-like and its metric.
    sample_weight : array-like of shape (n_samples,) or None
    device : str or torch.device

    Attributes
    ----------
    kept : ndarray of shape (n_samples,)
        Numbers of the samples of positive weight.
    weights : ndarray of shape (n_samples,)
        Theirs.
    n_samples, n_given : int
        How many have a positive weight, and how many there are.
    """

    def __init__(self, representations, sample_weight, device):
        self._views = [_View(name, *given) for name, given in representations.items()]
        first, *others = self._views
        for other in others:
            check_same_rows(first.rows, other.rows, first.name, other.name)
        weights = check_sample_weight(sample_weight, first.rows.shape[0])
        self.device = check_device(device)
        self.kept = np.flatnonzero(weights)
        self.weights = weights[self.kept]
        self.n_samples = len(self.kept)
        self.n_given = len(weights)

    @property
    def rtols(self):
        """Share of the largest dissimilarity by which others differ and yet tie, for each."""
        return [view.rtol for view in self._views]

    def require(self, n_samples, for_what):
        """Raise a ValueError if there are fewer samples."""
        if self.n_samples < n_samples:
            names = " and ".join(view.name for view in self._views)
            raise ValueError(
                f"{names} need at least {n_samples} samples of positive "
                f"weight ({for_what}), got {self.n_samples}."
            )

    def draw(self, n_anchors, n_references, rng):
        """Indices of the anchors and of the references."""
        return self.draw_anchors(n_anchors, rng), self.draw_references(n_references, rng)

    def draw_anchors(self, n_anchors, rng):
        """Indices of the anchors."""
        return self._draw(n_anchors, SAMPLED_ANCHORS, rng, "n_anchors", least=1)

    def draw_references(self, n_references, rng):
        """Indices of the references."""
        return self._draw(n_references, SAMPLED_REFERENCES, rng, "n_references", least=3)

    def _draw(self, n_drawn, n_default, rng, name, *, least):
        if n_drawn is None:
            n_drawn = self.n_samples if self.n_samples <= EXACT_SAMPLES else n_default
        n_drawn = min(check_count(n_drawn, name, least=least), self.n_samples)
        if n_drawn == self.n_samples:
            return np.arange(n_drawn)
        return rng.permutation(self.n_samples)[:n_drawn]

    def look(self, function, anchors, references, n_jobs=None):
        """Call a function with every AnchorBlock of the anchors, a block at a time.

        Parameters
        ----------
        function : callable
        anchors, references : ndarray of int
            Among the samples of positive weight.
        n_jobs : int, default=None
            How many blocks to work on at once, as joblib understands it; by threads, unless
            its backend is another.

        Returns
        -------
        results : list
        """
        own = np.full(self.n_samples, -1)
        own[references] = np.arange(len(references))
        own = own[anchors]
        self._fetch(anchors, references)
        size = max(_LEAST_ANCHORS_PER_BLOCK, _ENTRIES_PER_BLOCK // len(references))
        blocks = [
            group[rows]
            for group in (np.flatnonzero(own >= 0), np.flatnonzero(own < 0))
            for rows in chunks(len(group), size)
        ]
        weights = None
        if np.ptp(self.weights) > 0:
            weights = torch.from_numpy(self.weights[references]).to(self.device)
        scenes = [_ReferenceBlock(view, self.kept[references], self.device) for view in self._views]
        call = delayed(partial(_call, function))
        return Parallel(n_jobs=n_jobs, prefer="threads")(
            call(scenes, self.kept[anchors[places]], places, own[places], weights)
            for places in blocks
        )

    def _fetch(self, anchors, references):
        """Compute the rows of Dask arrays together, if they are few, not once for each array."""
        lazy = [view.rows for view in self._views if isinstance(view.rows, LazyRows)]
        samples = np.union1d(anchors, references) if lazy else []
        if 0 < len(samples) <= _ROWS_PER_CHUNK:
            fetch(lazy, self.kept[samples])


def _call(function, scenes, anchors, places, own, weights):
    seen = [scene.from_anchors(anchors) for scene in scenes]
    if weights is not None:
        weights = weights.expand(seen[0].shape)
    if own[0] >= 0:
        seen = [without_own(dissimilarities, own) for dissimilarities in seen]
        weights = None if weights is None else without_own(weights, own)
    return function(AnchorBlock(places, own, seen, weights))


def without_own(values, own):
    """Drop from each row the entry at its own place."""
    places = torch.arange(values.shape[1] - 1, device=values.device)
    before = places < torch.from_numpy(own).to(values.device)[:, None]
    return torch.where(before, values[:, :-1], values[:, 1:])


def with_own(values, own):
    """Undo :func:`without_own`, with zeros at the own places."""
    places = torch.arange(values.shape[1] + 1, device=values.device)
    own = torch.from_numpy(own).to(values.device)[:, None]
    left, right = (torch.nn.functional.pad(values, sides) for sides in ((0, 1), (1, 0)))
    return torch.where(places < own, left, torch.where(places > own, right, 0))


class _View:
    """One representation and its metric."""

    def __init__(self, name, rows, metric):
        self.name = name
        self.metric = metric
        self.rows = check_embeddings(rows, name, metric=metric, accept_sparse=True, lazy=True)
        self.rtol = _TIE_RTOL if isinstance(metric, str) and metric != "precomputed" else 0.0

    def take(self, numbers):
        """Rows by their numbers, finite and in double precision."""
        taken = take_rows(self.rows, numbers)
        assert_all_finite(taken, input_name=self.name)
        if not sp.issparse(taken):
            taken = np.ascontiguousarray(taken)
        return taken.astype(np.float64, copy=False)


class _ReferenceBlock:
    """Dissimilarities to the references in one representation."""

    def __init__(self, view, references, device):
        self.view = view
        self.references = references
        self.device = device
        self.is_table = view.metric == "precomputed"
        # A longer list of references is prepared again for each block, to bound the memory.
        self.held = None
        if not self.is_table and len(references) <= _ROWS_PER_CHUNK:
            self.held = self._look_at(references)

    def from_anchors(self, anchors):
        """Dissimilarities of the anchors to all references, (n_anchors, n_references)."""
        if self.is_table:
            table = self.view.rows[np.ix_(anchors, self.references)]
            assert_all_finite(table, input_name=self.view.name)
            return torch.from_numpy(table).to(self.device, torch.float64)
        anchors = self._take(anchors)
        if self.held is not None:
            seen = self.held(anchors)
        else:
            pieces = chunks(len(self.references), _ROWS_PER_CHUNK)
            seen = torch.cat(
                [self._look_at(self.references[piece])(anchors) for piece in pieces], dim=1
            )
        return check_no_nan(seen, self.view.metric, f"the metric of {self.view.name}")

    def _look_at(self, references):
        references = self._take(references)
        if sp.issparse(references):
            return partial(self._sparse_dissimilarity, references)
        return to_references(references, self.view.metric)

    def _sparse_dissimilarity(self, references, anchors):
        seen = sparse_dissimilarity(anchors, references, self.view.metric)
        # Rounding errors are even on the scale of distances, and the order is the same there.
        if self.view.metric in ("cosine", "sqeuclidean"):
            seen = np.sqrt(seen)
        return torch.from_numpy(seen).to(self.device)

    def _take(self, numbers):
        rows = self.view.take(numbers)
        return rows if sp.issparse(rows) else torch.from_numpy(rows).to(self.device)
