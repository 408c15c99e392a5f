"""Functions that several scores use."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray


def mean_of_defined(values: NDArray[np.floating], weights: NDArray[np.floating]) -> float:
    """Weighted mean of the values that are not nan; nan if there are none."""
    defined = ~np.isnan(values)
    return np.average(values[defined], weights=weights[defined]) if defined.any() else np.nan


def gather(
    results: Iterable[tuple[NDArray[np.integer], torch.Tensor]],
) -> NDArray[np.float64]:
    """Concatenate the values of blocks of anchors, in the order of the anchors."""
    positions, blocks = zip(*results, strict=True)
    values = torch.cat(blocks).cpu().numpy()
    gathered = np.empty_like(values)
    gathered[np.concatenate(positions)] = values
    return gathered


def neighbor_shares(
    dissimilarities: torch.Tensor, n_neighbors: int, rtol: float = 0.0
) -> torch.Tensor:
    """1 for the k nearest references of each row, 0 for the others.

    References that tie at the k-th position share the remaining positions equally.
    """
    # Not kthvalue, which raises an error on CUDA in PyTorch's deterministic mode.
    farthest = dissimilarities.topk(n_neighbors, dim=1, largest=False).values[:, -1:]
    inside = dissimilarities < farthest * (1 - rtol)
    tied = (dissimilarities <= farthest * (1 + rtol)) & ~inside
    remaining = n_neighbors - inside.sum(1, keepdim=True)
    return inside + tied * (remaining / tied.sum(1, keepdim=True).double())
