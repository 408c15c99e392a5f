"""Representations of the same samples, and their dissimilarities block by block."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import assert_all_finite
from sklearn.utils.parallel import Parallel, delayed

from skperco.dissimilarity._dense import check_metric, check_no_nan, order_to_references
from skperco.dissimilarity._sparse import sparse_dissimilarity
from skperco.utils._chunking import chunks, take_rows
from skperco.utils._dask import LazyRows, fetch
from skperco.utils._devices import check_device
from skperco.utils._numbers import check_count
from skperco.utils._types import Metric
from skperco.utils._validation import (
    check_embeddings,
    check_no_negative,
    check_same_rows,
    check_sample_weight,
)

# Up to this number of samples all of them are anchors and references by default.
EXACT_SAMPLES = 4000
SAMPLED_ANCHORS = 1000
SAMPLED_REFERENCES = 2000
_ENTRIES_PER_BLOCK = 2**19
_MIN_ANCHORS_PER_BLOCK = 8
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
        Of the references; None if all are equal.
    """

    positions: NDArray[np.integer]
    own: NDArray[np.integer]
    dissimilarities: list[torch.Tensor]
    weights: torch.Tensor | None


class Representations:
    """Several representations of the same samples, without the samples of weight zero.

    Shapes are checked immediately; values are checked when they are read.

    Parameters
    ----------
    representations : dict
        Maps the name of each representation in error messages to its rows, its metric and,
        if anchors are represented by other rows, these.
    sample_weight : array-like of shape (n_samples,) or None
    device : str or torch.device

    Attributes
    ----------
    kept : ndarray of shape (n_samples,)
        Indices of the samples of positive weight.
    weights : ndarray of shape (n_samples,)
        Their weights.
    n_samples, n_given : int
        Number of samples of positive weight, and of all samples.
    """

    def __init__(
        self,
        representations: Mapping[str, tuple[Any, ...]],
        sample_weight: ArrayLike | None,
        device: str | torch.device,
    ) -> None:
        self._representations = [
            _Representation(name, *given) for name, given in representations.items()
        ]
        first, *others = self._representations
        others += [one.queries for one in self._representations if one.queries is not one]
        for other in others:
            check_same_rows(first.rows, other.rows, first.name, other.name)
        weights = check_sample_weight(sample_weight, first.rows.shape[0])
        self.device = check_device(device)
        self.kept = np.flatnonzero(weights)
        self.weights = weights[self.kept]
        self.n_samples = len(self.kept)
        self.n_given = len(weights)

    @property
    def rtols(self) -> list[float]:
        """Relative tolerance of ties of each representation."""
        return [representation.rtol for representation in self._representations]

    def require(self, n_samples: int, for_what: str) -> None:
        """Raise a ValueError if fewer than `n_samples` samples have positive weight."""
        if self.n_samples < n_samples:
            names = " and ".join(representation.name for representation in self._representations)
            raise ValueError(
                f"{names} need at least {n_samples} samples of positive "
                f"weight ({for_what}), got {self.n_samples}."
            )

    def draw(
        self, n_anchors: int | None, n_references: int | None, rng: np.random.RandomState
    ) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
        """Draw the indices of the anchors and of the references."""
        return self.draw_anchors(n_anchors, rng), self.draw_references(n_references, rng)

    def draw_anchors(
        self, n_anchors: int | None, rng: np.random.RandomState
    ) -> NDArray[np.integer]:
        """Draw the indices of the anchors."""
        return self._draw(n_anchors, SAMPLED_ANCHORS, rng, "n_anchors", least=1)

    def draw_references(
        self, n_references: int | None, rng: np.random.RandomState
    ) -> NDArray[np.integer]:
        """Draw the indices of the references."""
        return self._draw(n_references, SAMPLED_REFERENCES, rng, "n_references", least=3)

    def _draw(
        self,
        n_drawn: int | None,
        n_default: int,
        rng: np.random.RandomState,
        name: str,
        *,
        least: int,
    ) -> NDArray[np.integer]:
        if n_drawn is None:
            n_drawn = self.n_samples if self.n_samples <= EXACT_SAMPLES else n_default
        n_drawn = min(check_count(n_drawn, name, least=least), self.n_samples)
        if n_drawn == self.n_samples:
            return np.arange(n_drawn)
        return rng.permutation(self.n_samples)[:n_drawn]

    def map_blocks(
        self,
        function: Callable[[AnchorBlock], Any],
        anchors: NDArray[np.integer],
        references: NDArray[np.integer],
        n_jobs: int | None = None,
    ) -> list:
        """Divide the anchors into blocks, and call a function on the AnchorBlock of each.

        Parameters
        ----------
        function : callable
        anchors, references : ndarray of int
            Indices among the samples of positive weight.
        n_jobs : int, default=None
            Number of blocks to process in parallel, as in joblib; by threads, unless joblib's
            context names another backend.

        Returns
        -------
        results : list
        """
        own = np.full(self.n_samples, -1)
        own[references] = np.arange(len(references))
        own = own[anchors]
        self._fetch(anchors, references)
        size = max(_MIN_ANCHORS_PER_BLOCK, _ENTRIES_PER_BLOCK // len(references))
        blocks = [
            group[rows]
            for group in (np.flatnonzero(own >= 0), np.flatnonzero(own < 0))
            for rows in chunks(len(group), size)
        ]
        weights = None
        if np.ptp(self.weights) > 0:
            weights = torch.from_numpy(self.weights[references]).to(self.device)
        prepared = [
            _PreparedReferences(representation, self.kept[references], self.device)
            for representation in self._representations
        ]
        call = delayed(partial(_call_on_block, function, prepared, weights))
        return Parallel(n_jobs=n_jobs, prefer="threads")(
            call(self.kept[anchors[positions]], positions, own[positions]) for positions in blocks
        )

    def _fetch(self, anchors: NDArray[np.integer], references: NDArray[np.integer]) -> None:
        """If the rows are few, compute and cache those of all Dask arrays in one pass."""
        parts = [part for one in self._representations for part in (one, one.queries)]
        lazy = {id(part.rows): part.rows for part in parts if isinstance(part.rows, LazyRows)}
        if lazy:
            samples = np.union1d(anchors, references)
            if len(samples) <= _ROWS_PER_CHUNK:
                fetch(list(lazy.values()), self.kept[samples])


def _call_on_block(
    function: Callable[[AnchorBlock], Any],
    prepared: list["_PreparedReferences"],
    weights: torch.Tensor | None,
    anchors: NDArray[np.integer],
    positions: NDArray[np.integer],
    own: NDArray[np.integer],
) -> Any:
    dissimilarities = [references.dissimilarities(anchors) for references in prepared]
    if weights is not None:
        weights = weights.expand(dissimilarities[0].shape)
    if own[0] >= 0:
        dissimilarities = [without_own(values, own) for values in dissimilarities]
        weights = None if weights is None else without_own(weights, own)
    return function(AnchorBlock(positions, own, dissimilarities, weights))


def without_own(values: torch.Tensor, own: NDArray[np.integer]) -> torch.Tensor:
    """Drop from each row the entry at the anchor's own position."""
    positions = torch.arange(values.shape[1] - 1, device=values.device)
    before = positions < torch.from_numpy(own).to(values.device)[:, None]
    return torch.where(before, values[:, :-1], values[:, 1:])


def with_own(values: torch.Tensor, own: NDArray[np.integer]) -> torch.Tensor:
    """Undo :func:`without_own`, with zeros at the anchors' own positions."""
    positions = torch.arange(values.shape[1] + 1, device=values.device)
    own_column = torch.from_numpy(own).to(values.device)[:, None]
    left, right = (torch.nn.functional.pad(values, sides) for sides in ((0, 1), (1, 0)))
    return torch.where(positions < own_column, left, torch.where(positions > own_column, right, 0))


class _Representation:
    """One representation and its metric; `queries` is the representation of anchors."""

    def __init__(self, name: str, rows: Any, metric: Metric, queries: Any = None) -> None:
        self.name = name
        self.metric = metric
        self.rows = check_embeddings(rows, name, metric=metric, accept_sparse=True, lazy=True)
        self.rtol = _TIE_RTOL if isinstance(metric, str) and metric != "precomputed" else 0.0
        self.queries = self
        if queries is not None:
            self.queries = _Representation(f"{name}_queries", queries, metric)
            self._check_queries()

    def _check_queries(self) -> None:
        """Raise a ValueError unless the queries can be compared with the other rows."""
        if isinstance(self.metric, str) and self.metric == "precomputed":
            raise ValueError(
                f"{self.queries.name} must be None if the metric is 'precomputed': row i of the "
                "dissimilarity matrix already holds the dissimilarities from anchor i."
            )
        if sp.issparse(self.rows) != sp.issparse(self.queries.rows):
            raise ValueError(f"{self.name} and {self.queries.name} must both be sparse or dense.")
        if self.rows.shape[1] != self.queries.rows.shape[1]:
            raise ValueError(
                f"{self.name} and {self.queries.name} must have the same number of columns, got "
                f"{self.rows.shape[1]} and {self.queries.rows.shape[1]}."
            )

    def take(self, indices: NDArray[np.integer]) -> Any:
        """Rows by their indices, checked to be finite, in double precision."""
        taken = take_rows(self.rows, indices)
        assert_all_finite(taken, input_name=self.name)
        if not sp.issparse(taken):
            taken = np.ascontiguousarray(taken)
        return taken.astype(np.float64, copy=False)


class _PreparedReferences:
    """References of one representation, prepared for dissimilarities to blocks of anchors."""

    def __init__(
        self,
        representation: _Representation,
        references: NDArray[np.integer],
        device: torch.device,
    ) -> None:
        self.representation = representation
        self.references = references
        self.device = device
        self.is_precomputed = representation.metric == "precomputed"
        # More references than this are prepared again for each block, to limit the memory.
        self.prepared = None
        if not self.is_precomputed and len(references) <= _ROWS_PER_CHUNK:
            self.prepared = self._prepare(references)

    def dissimilarities(self, anchors: NDArray[np.integer]) -> torch.Tensor:
        """Dissimilarities of the anchors to all references, (n_anchors, n_references)."""
        metric, name = self.representation.metric, self.representation.name
        if self.is_precomputed:
            block = self.representation.rows[np.ix_(anchors, self.references)]
            assert_all_finite(block, input_name=name)
            check_no_negative(block, name)
            return torch.from_numpy(block).to(self.device, torch.float64)
        rows = self._tensor(self.representation.queries.take(anchors))
        if self.prepared is not None:
            dissimilarities = self.prepared(rows)
        else:
            pieces = chunks(len(self.references), _ROWS_PER_CHUNK)
            dissimilarities = torch.cat(
                [self._prepare(self.references[piece])(rows) for piece in pieces], dim=1
            )
        return check_no_nan(dissimilarities, metric, f"the metric of {name}")

    def _prepare(self, references: NDArray[np.integer]) -> Callable[[Any], torch.Tensor]:
        """Return a function from rows of anchors to their dissimilarities to these references."""
        rows = self._tensor(self.representation.take(references))
        if sp.issparse(rows):
            return partial(self._sparse_dissimilarity, rows)
        return order_to_references(rows, self.representation.metric)

    def _sparse_dissimilarity(
        self, references: sp.csr_array, anchors: sp.csr_array
    ) -> torch.Tensor:
        metric = self.representation.metric
        dissimilarities = sparse_dissimilarity(anchors, references, metric)
        # Distances have the order of their squares, and rounding errors that fit a relative
        # tolerance of ties.
        if metric in ("cosine", "sqeuclidean"):
            dissimilarities = np.sqrt(dissimilarities)
        return torch.from_numpy(dissimilarities).to(self.device)

    def _tensor(self, rows: Any) -> Any:
        return rows if sp.issparse(rows) else torch.from_numpy(rows).to(self.device)


def teacher_and_student(
    teacher: Any,
    student: Any,
    metric: Metric,
    teacher_metric: Metric | None,
    sample_weight: ArrayLike | None,
    device: str | torch.device,
    student_queries: Any = None,
) -> Representations:
    """Representations of a teacher and a student, each with its metric."""
    teacher_metric = metric if teacher_metric is None else teacher_metric
    check_metric(metric)
    check_metric(teacher_metric, "teacher_metric")
    representations = {
        "teacher": (teacher, teacher_metric),
        "student": (student, metric, student_queries),
    }
    return Representations(representations, sample_weight, device)
