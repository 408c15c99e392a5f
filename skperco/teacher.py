"""What the teacher sees: dissimilarities between rows, their nearest, and coordinates."""

import scipy.sparse as sp
import torch

from skperco._rows import chunks
from skperco.dissimilarity import pairwise_dissimilarity, to_references
from skperco.ranking import percentile_rank
from skperco.sparse import sparse_dissimilarity

_ENTRIES_PER_BLOCK = 2**23


class Teacher:
    """The teacher's view of the samples, in single precision on a device.

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
            representation = torch.from_numpy(representation).to(device, torch.float32)
        self.representation = representation
        self.metric = metric
        self.device = device

    def __len__(self):
        return self.representation.shape[0]

    def dissimilarities(self, anchors, references):
        """Of every anchor to every reference, given by their numbers."""
        if sp.issparse(self.representation):
            rows, columns = anchors.cpu().numpy(), references.cpu().numpy()
            table = dissimilarity_table(self.representation, self.metric, rows, columns)
            return table.to(self.device, torch.float32)
        if self.metric == "precomputed":
            return self.representation[anchors[:, None], references]
        return pairwise_dissimilarity(
            self.representation[anchors], self.representation[references], metric=self.metric
        )

    def nearest(self, n_neighbors):
        """Numbers and log ranks of the nearest rows, two tensors (n_rows, n_neighbors)."""
        everyone = torch.arange(len(self), device=self.device)
        look = self._look_at_all(everyone)
        found = []
        for rows in chunks(len(self), max(1, _ENTRIES_PER_BLOCK // len(self))):
            seen = look(rows)
            seen[everyone[: len(seen)], everyone[rows]] = torch.inf
            near, neighbors = seen.topk(n_neighbors, dim=1, largest=False)
            found.append((neighbors, percentile_rank(near).log()))
        return tuple(torch.cat(parts) for parts in zip(*found, strict=True))

    def _look_at_all(self, everyone):
        """From a slice of rows to a new table of what they see of all, in its order."""
        if sp.issparse(self.representation):
            return lambda rows: self.dissimilarities(everyone[rows], everyone)
        if self.metric == "precomputed":
            return lambda rows: self.representation[rows].clone()
        look = to_references(self.representation, self.metric)
        return lambda rows: look(self.representation[rows])


def dissimilarity_table(representation, metric, rows=slice(None), columns=slice(None)):
    """Dissimilarities between samples, in double precision.

    Parameters
    ----------
    representation : ndarray or CSR of shape (n_samples, n_features)
        Embeddings, or the (n_samples, n_samples) table with ``metric="precomputed"``.
    metric : str or callable
    rows, columns : slice or ndarray of int
        From which samples to which.

    Returns
    -------
    table : torch.Tensor of shape (n_rows, n_columns), float64
    """
    if metric == "precomputed":
        return torch.from_numpy(representation[rows][:, columns]).double()
    if sp.issparse(representation):
        seen = sparse_dissimilarity(representation[rows], representation[columns], metric)
        return torch.from_numpy(seen)
    pair = (torch.from_numpy(representation[part]).double() for part in (rows, columns))
    return pairwise_dissimilarity(*pair, metric=metric)
