"""Training of product, residual and product-residual codes by k-means."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from skperco.codes._allocation import group_dimensions, mean_squares, water_filling
from skperco.codes._kmeans import kmeans_centers
from skperco.codes._residual_code import N_CENTROIDS, ResidualCode, extend_beam
from skperco.utils._chunking import chunks

_BITS_PER_BYTE = 8
# Largest number of residuals in the k-means of a level: the residuals of a beam are many.
_MAX_RESIDUALS = 2**16
_ROWS_PER_CHUNK = 2**11


def train_residual_code(
    embeddings: NDArray[np.float32],
    n_bytes: int,
    n_groups: int,
    *,
    weights: NDArray[np.float32],
    beam_width: int,
    adjacent: bool = False,
    sample_weight: NDArray[np.floating],
    random_state: np.random.RandomState,
    device: torch.device,
) -> tuple[NDArray[np.intp], ResidualCode]:
    """Train a code of groups of dimensions, each with its share of the bytes.

    Parameters
    ----------
    embeddings : ndarray of shape (n_rows, n_components), float32
        With uncorrelated columns, so that any groups of columns can be coded separately, unless
        `adjacent` is true.
    n_bytes : int
    n_groups : int
        1 for a residual code, `n_bytes` for a product code. At most n_components are formed.
    weights : ndarray of shape (n_components,), float32
        Of the errors, as in :class:`ResidualCode`.
    beam_width : int
    adjacent : bool, default=False
        Whether the columns of a group are adjacent. Otherwise they are chosen by their variances.
    sample_weight : ndarray of shape (n_rows,)
    random_state : RandomState
    device : torch.device
        Where the beam search computes.

    Returns
    -------
    order : ndarray of shape (n_components,)
        The columns in the order in which the code takes them.
    code : ResidualCode
        On the CPU.
    """
    n_groups = min(n_groups, n_bytes, embeddings.shape[1])
    capacities = np.full(n_groups, n_bytes // n_groups)
    capacities[: n_bytes % n_groups] += 1
    weighted = embeddings * weights
    if adjacent:
        groups = np.array_split(np.arange(embeddings.shape[1]), n_groups)
    else:
        bits = water_filling(mean_squares(weighted, sample_weight), _BITS_PER_BYTE * n_bytes)
        groups = group_dimensions(bits, capacities)
    training = _Training(beam_width, sample_weight, random_state, device)
    codebooks = [
        training.codebook(weighted[:, group], n_levels) / weights[group]
        for group, n_levels in zip(groups, capacities, strict=True)
    ]
    order = np.concatenate(groups)
    return order, ResidualCode.from_codebooks(codebooks, weights[order], beam_width)


class _Training(NamedTuple):
    """What the training of all groups has in common."""

    beam_width: int
    sample_weight: NDArray[np.floating]
    random_state: np.random.RandomState
    device: torch.device

    def codebook(self, rows: NDArray[np.float32], n_levels: int) -> NDArray[np.float32]:
        """Codebook of one group, trained level by level on the residuals of a beam search."""
        beams = _Beams(rows, self.device)
        levels = []
        for remaining in range(n_levels - 1, -1, -1):
            levels.append(self._centers(beams.residuals))
            if remaining:
                beams.extend(levels[-1], self.beam_width)
        return np.stack(levels)

    def _centers(self, residuals: NDArray[np.float32]) -> NDArray[np.float32]:
        """Centers of residuals of shape (n_rows, n_kept, n_dimensions)."""
        n_rows, n_kept, n_dimensions = residuals.shape
        rows = residuals.reshape(-1, n_dimensions)
        weight = np.repeat(self.sample_weight, n_kept)
        if len(rows) > max(n_rows, _MAX_RESIDUALS):
            drawn = self.random_state.choice(len(rows), max(n_rows, _MAX_RESIDUALS), replace=False)
            rows, weight = rows[drawn], weight[drawn]
        return kmeans_centers(
            rows, N_CENTROIDS, sample_weight=weight, random_state=self.random_state
        )


class _Beams:
    """Residuals of all rows in the beams of a search that is extended level by level."""

    def __init__(self, rows: NDArray[np.float32], device: torch.device) -> None:
        self.residuals = rows[:, None]
        self.device = device

    def extend(self, centers: NDArray[np.float32], beam_width: int) -> None:
        """Subtract the centroids of one more level."""
        level = torch.from_numpy(centers).to(self.device)
        parts = []
        for rows in chunks(len(self.residuals), _ROWS_PER_CHUNK):
            residuals = torch.from_numpy(self.residuals[rows]).to(self.device)
            no_codes = residuals.new_empty(*residuals.shape[:2], 0, dtype=torch.int64)
            extended = extend_beam(no_codes, residuals, level, beam_width)[1]
            parts.append(extended.cpu().numpy())
        self.residuals = np.concatenate(parts)
