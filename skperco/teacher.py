"""What the teacher sees: dissimilarities between rows, their nearest, and coordinates."""

import torch

from skperco._rows import chunks
from skperco.dissimilarity import pairwise_dissimilarity
from skperco.ranking import percentile_rank

_ENTRIES_PER_BLOCK = 2**23


class Teacher:
    """The teacher's view of the samples, in single precision on a device.

    Parameters
    ----------
    representation : ndarray of shape (n_samples, n_features)
        Embeddings, or the (n_samples, n_samples) table with ``metric="precomputed"``.
    metric : str or callable
    device : torch.device
    """

    def __init__(self, representation, metric, device):
        self.representation = torch.from_numpy(representation).to(device, torch.float32)
        self.metric = metric
        self.device = device

    def __len__(self):
        return len(self.representation)

    def dissimilarities(self, anchors, references):
        """Of every anchor to every reference, given by their numbers."""
        if self.metric == "precomputed":
            return self.representation[anchors[:, None], references]
        return pairwise_dissimilarity(
            self.representation[anchors], self.representation[references], metric=self.metric
        )

    def nearest(self, n_neighbors):
        """Numbers and log ranks of the nearest rows, two tensors (n_rows, n_neighbors)."""
        everyone = torch.arange(len(self), device=self.device)
        found = []
        for rows in chunks(len(self), max(1, _ENTRIES_PER_BLOCK // len(self))):
            seen = self.dissimilarities(everyone[rows], everyone)
            seen[everyone[: len(seen)], everyone[rows]] = torch.inf
            near, neighbors = seen.topk(n_neighbors, dim=1, largest=False)
            found.append((neighbors, percentile_rank(near).log()))
        return tuple(torch.cat(parts) for parts in zip(*found, strict=True))


def dissimilarity_table(representation, metric, rows=slice(None), columns=slice(None)):
    """Dissimilarities between samples, in double precision.

    Parameters
    ----------
    representation : ndarray of shape (n_samples, n_features)
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
    pair = (torch.from_numpy(representation[part]).double() for part in (rows, columns))
    return pairwise_dissimilarity(*pair, metric=metric)
