"""The teacher: dissimilarities between rows, and lists of nearest neighbors."""

import math

import numpy as np
import scipy.sparse as sp
import torch

from skperco.dissimilarity._dense import among, check_no_nan
from skperco.dissimilarity._table import dissimilarity_table
from skperco.ranking._percentile import percentile_rank
from skperco.utils._chunking import chunks


class Pool:
    """Training subset: samples in memory, and the teacher of them.

    Parameters
    ----------
    samples : Samples
        All of positive weight.
    device : torch.device
    teacher : Teacher, default=None
        If it is known already.
    """

    def __init__(self, samples, device, teacher=None):
        self.samples = samples
        self.device = device
        self.teacher = teacher
        if teacher is None:
            self.teacher = Teacher(samples.representation, samples.teacher_metric, device)

    @property
    def n_rows(self):
        """Number of samples."""
        return self.samples.n_rows

    def split(self, n_held_out):
        """Split off the first rows: the rest of the training subset, and the held-out samples."""
        if n_held_out == 0:
            return self, self.samples.take(np.arange(0))
        rows = np.arange(self.n_rows)
        kept = rows[n_held_out:]
        pool = Pool(self.samples.take(kept), self.device, self.teacher.take(kept))
        return pool, self.samples.take(rows[:n_held_out])


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
        Embeddings, or the (n_samples, n_samples) table with ``metric="precomputed"``.
    metric : str or callable
    device : torch.device
    """

    def __init__(self, representation, metric, device):
        # Dense rows stay on the device; sparse ones are compared where SciPy multiplies them.
        if not sp.issparse(representation):
            representation = torch.as_tensor(representation).to(device, torch.float32)
        self.representation = representation
        self.metric = metric
        self.device = device
        self._lists = None
        self._whole = None
        self._among = None
        if not sp.issparse(representation) and metric != "precomputed":
            self._among = among(representation, metric)

    def __len__(self):
        return self.representation.shape[0]

    def order(self, anchors, references=None):
        """Values with the order of the dissimilarities from anchors to references, by index.

        Of all rows, if there are no numbers of references. Up to rounding, where dense rows are
        nearly the same.
        """
        if self._among is not None:
            return self._among(anchors, references)
        if self.metric == "precomputed":
            places = anchors if references is None else (anchors[:, None], references)
            return self.representation[places]
        rows = anchors.cpu().numpy()
        columns = slice(None) if references is None else references.cpu().numpy()
        table = dissimilarity_table(
            self.representation, self.metric, rows, columns, device=self.device
        )
        return table.float()

    def take(self, kept):
        """The teacher of some of the rows, given an ndarray of their indices."""
        representation = self.representation[kept]
        if self.metric == "precomputed":
            representation = representation[:, kept]
        teacher = Teacher(representation, self.metric, self.device)
        teacher._whole = self, torch.from_numpy(kept).to(self.device)
        return teacher

    def nearest(self, n_neighbors):
        """Indices and log ranks of the nearest rows, two tensors (n_rows, n_neighbors)."""
        neighbors, near = (part[:, :n_neighbors] for part in self._listed(n_neighbors))
        return neighbors.contiguous(), percentile_rank(near).log()

    def _listed(self, n_neighbors):
        """Indices of at least so many nearest rows, nearest first, and their dissimilarities."""
        if self._lists is None or self._lists[0].shape[1] < n_neighbors:
            self._lists = self._inherited(n_neighbors) or self._found(n_neighbors)
        return self._lists

    def _inherited(self, n_neighbors):
        """Lists of neighbors from the full set, without the rows that are not in this subset.

        None if there is no full set, or if a list would be too short.
        """
        if self._whole is None:
            return None
        whole, kept = self._whole
        spare = math.ceil(_OVERFETCH * n_neighbors * len(whole) / len(self)) + _LEAST_OVERFETCH
        neighbors, near = (part[kept] for part in whole._listed(min(spare, len(whole) - 1)))
        places = torch.full((len(whole),), -1, device=self.device)
        places[kept] = torch.arange(len(kept), device=self.device)
        neighbors = places[neighbors]
        n_listed = int((neighbors >= 0).sum(1).min())
        if n_listed < n_neighbors:
            return None
        order = (neighbors < 0).to(torch.int8).argsort(dim=1, stable=True)[:, :n_listed]
        return neighbors.gather(1, order), near.gather(1, order)

    def _found(self, n_neighbors):
        everyone = torch.arange(len(self), device=self.device)
        # Blocks that come and go between parts of a result that stay would leave holes in memory.
        near = torch.empty((len(self), n_neighbors), dtype=torch.float32, device=self.device)
        neighbors = torch.empty_like(near, dtype=torch.int64)
        for rows in chunks(len(self), max(1, _ENTRIES_PER_BLOCK // len(self))):
            seen = check_no_nan(self.order(everyone[rows]), self.metric, "teacher_metric")
            seen[everyone[: len(seen)], everyone[rows]] = torch.inf
            near[rows], neighbors[rows] = seen.topk(n_neighbors, dim=1, largest=False)
        return neighbors, near
