"""The teacher: dissimilarities between rows, and lists of nearest neighbors."""

import math

import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from skperco.dissimilarity._dense import check_no_nan, order_among_rows
from skperco.dissimilarity._table import dissimilarity_table
from skperco.ranking._percentile import percentile_rank
from skperco.utils._chunking import chunks
from skperco.utils._types import Metric, Rows

_ENTRIES_PER_BLOCK = 2**20
# Over-fetch factor: neighbors are searched once for the full set; after held-out rows are dropped,
# nearly every row must still have n_neighbors.
_OVERFETCH = 1.2
_LEAST_OVERFETCH = 10


class Teacher:
    """The teacher's dissimilarities between samples, in single precision on a device.

    Parameters
    ----------
    representation : ndarray or CSR of shape (n_samples, n_features)
        Embeddings, or the (n_samples, n_samples) dissimilarity matrix with
        ``metric="precomputed"``.
    metric : str or callable
    device : torch.device
    """

    def __init__(self, representation: Rows, metric: Metric, device: torch.device):
        # Dense rows are moved to the device; sparse rows stay on the CPU, for products by SciPy.
        if not sp.issparse(representation):
            representation = torch.as_tensor(representation).to(device, torch.float32)
        self.representation = representation
        self.metric = metric
        self.device = device
        self._lists: tuple[torch.Tensor, torch.Tensor] | None = None
        self._full: tuple[Teacher, torch.Tensor] | None = None
        self._among = None
        if not sp.issparse(representation) and metric != "precomputed":
            self._among = order_among_rows(representation, metric)

    def __len__(self) -> int:
        return self.representation.shape[0]

    def order(self, anchors: torch.Tensor, references: torch.Tensor | None = None) -> torch.Tensor:
        """Values in the order of the dissimilarities from anchors to references, given by index.

        The references are all rows if none are given. Between dense rows that are nearly equal,
        rounding can change the order.
        """
        if self._among is not None:
            return self._among(anchors, references)
        if self.metric == "precomputed":
            index = anchors if references is None else (anchors[:, None], references)
            return self.representation[index]
        rows = anchors.cpu().numpy()
        columns = slice(None) if references is None else references.cpu().numpy()
        block = dissimilarity_table(
            self.representation, self.metric, rows, columns, device=self.device
        )
        return block.float()

    def take(self, kept: NDArray) -> "Teacher":
        """The teacher of some of the rows, given an ndarray of their indices."""
        representation = self.representation[kept]
        if self.metric == "precomputed":
            representation = representation[:, kept]
        teacher = Teacher(representation, self.metric, self.device)
        teacher._full = self, torch.from_numpy(kept).to(self.device)
        return teacher

    def nearest(self, n_neighbors: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Indices and log ranks of the nearest rows, two tensors (n_rows, n_neighbors)."""
        neighbors, dissimilarities = (part[:, :n_neighbors] for part in self._cached(n_neighbors))
        return neighbors.contiguous(), percentile_rank(dissimilarities).log()

    def _cached(self, n_neighbors: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Indices of at least `n_neighbors` rows, nearest first, and their dissimilarities."""
        if self._lists is None or self._lists[0].shape[1] < n_neighbors:
            self._lists = self._filter_full(n_neighbors) or self._search(n_neighbors)
        return self._lists

    def _filter_full(self, n_neighbors: int) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Lists of neighbors from the full set, without the rows that are not in this subset.

        None if there is no full set, or if a list would be too short.
        """
        if self._full is None:
            return None
        full, kept = self._full
        n_fetched = math.ceil(_OVERFETCH * n_neighbors * len(full) / len(self)) + _LEAST_OVERFETCH
        lists = full._cached(min(n_fetched, len(full) - 1))
        neighbors, dissimilarities = (part[kept] for part in lists)
        index_in_subset = torch.full((len(full),), -1, device=self.device)
        index_in_subset[kept] = torch.arange(len(kept), device=self.device)
        neighbors = index_in_subset[neighbors]
        shortest = int((neighbors >= 0).sum(1).min())
        if shortest < n_neighbors:
            return None
        order = (neighbors < 0).to(torch.int8).argsort(dim=1, stable=True)[:, :shortest]
        return neighbors.gather(1, order), dissimilarities.gather(1, order)

    def _search(self, n_neighbors: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Brute-force search in blocks of rows."""
        indices = torch.arange(len(self), device=self.device)
        # Allocated before the blocks, which would otherwise fragment the memory.
        shape = (len(self), n_neighbors)
        nearest = torch.empty(shape, dtype=torch.float32, device=self.device)
        neighbors = torch.empty_like(nearest, dtype=torch.int64)
        for rows in chunks(len(self), max(1, _ENTRIES_PER_BLOCK // len(self))):
            block = check_no_nan(self.order(indices[rows]), self.metric, "teacher_metric")
            block[indices[: len(block)], indices[rows]] = torch.inf
            nearest[rows], neighbors[rows] = block.topk(n_neighbors, dim=1, largest=False)
        return neighbors, nearest
