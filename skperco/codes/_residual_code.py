"""Product, residual and product-residual codes with 256 centroids for each byte."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

N_CENTROIDS = 256


class ResidualCode(torch.nn.Module):
    """Residual codes of groups of dimensions.

    The dimensions of a group are approximated by the sum of one centroid for each byte of the
    group. With one byte for each group this is a product code (Jégou, Douze and Schmid, 2011);
    with one group it is a residual code (Chen, Guan and Wang, 2010).

    Parameters
    ----------
    shapes : torch.Tensor of shape (n_groups, 2), int64
        Number of bytes and number of dimensions of each group. The first group has the first
        dimensions, and so on.
    centroids : torch.Tensor of float32
        Codebooks of all groups, each of shape (n_bytes, 256, n_dimensions), flattened.
    weights : torch.Tensor of shape (n_components,), float32
        Encoding minimizes the sum of squared errors, each multiplied by the weight of its
        dimension before it is squared.
    beam_width : torch.Tensor of shape (), int64
        Number of partial codes that encoding keeps for each row (beam search).
    """

    centroids: torch.Tensor
    weights: torch.Tensor

    def __init__(
        self,
        shapes: torch.Tensor,
        centroids: torch.Tensor,
        weights: torch.Tensor,
        beam_width: torch.Tensor,
    ) -> None:
        super().__init__()
        self.register_buffer("shapes", shapes)
        self.register_buffer("centroids", centroids)
        self.register_buffer("weights", weights)
        self.register_buffer("beam_width", beam_width)
        # Python numbers, so that no pass over rows waits for the device.
        self._sizes: list[list[int]] = shapes.tolist()
        self._width = int(beam_width)
        self.n_bytes, self.n_components = map(sum, zip(*self._sizes, strict=True))

    @classmethod
    def from_codebooks(
        cls,
        codebooks: Sequence[NDArray[np.float32]],
        weights: NDArray[np.float32] | None = None,
        beam_width: int = 1,
    ) -> "ResidualCode":
        """A code with these codebooks, each of shape (n_bytes, 256, n_dimensions).

        All weights are 1 if none are given.
        """
        shapes = torch.tensor([(len(codebook), codebook.shape[2]) for codebook in codebooks])
        return cls(
            shapes,
            torch.from_numpy(np.concatenate([codebook.ravel() for codebook in codebooks])),
            torch.ones(int(shapes[:, 1].sum())) if weights is None else torch.from_numpy(weights),
            torch.tensor(beam_width),
        )

    def codebooks(self) -> list[torch.Tensor]:
        """The codebook of each group, of shape (n_bytes, 256, n_dimensions)."""
        sizes = [n_levels * N_CENTROIDS * width for n_levels, width in self._sizes]
        parts = self.centroids.split(sizes)
        return [
            part.view(n_levels, N_CENTROIDS, width)
            for part, (n_levels, width) in zip(parts, self._sizes, strict=True)
        ]

    def encode(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Codes of embeddings, uint8 of shape (n_rows, n_bytes)."""
        widths = [width for _, width in self._sizes]
        groups = zip(
            (embeddings * self.weights).split(widths, dim=1),
            self.codebooks(),
            self.weights.split(widths),
            strict=True,
        )
        parts = [
            encode_group(rows, codebook * weights, self._width)
            for rows, codebook, weights in groups
        ]
        return torch.cat(parts, dim=1).to(torch.uint8)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Sums of the centroids of codes, float32 of shape (n_rows, n_components)."""
        parts, byte = [], 0
        for codebook in self.codebooks():
            # Summed one after the other: the rounding is the same for any number of rows.
            total = torch.zeros((), dtype=torch.float32, device=codebook.device)
            for level in codebook:
                total = total + level.index_select(0, codes[:, byte].long())
                byte += 1
            parts.append(total)
        return torch.cat(parts, dim=1)


def encode_group(rows: torch.Tensor, codebook: torch.Tensor, beam_width: int) -> torch.Tensor:
    """Indices of the centroids whose sum approximates each row, (n_rows, n_levels)."""
    if len(codebook) == 1:
        return _squared_distances(rows, codebook[0]).argmin(1, keepdim=True)
    codes = beam_search(rows, codebook, beam_width)[0]
    return codes[:, 0]


def beam_search(
    rows: torch.Tensor, codebook: torch.Tensor, beam_width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The best codes of each row that a beam search finds, and their residuals.

    Parameters
    ----------
    rows : torch.Tensor of shape (n_rows, n_dimensions)
    codebook : torch.Tensor of shape (n_levels, 256, n_dimensions)
    beam_width : int

    Returns
    -------
    codes : torch.Tensor of shape (n_rows, n_kept, n_levels), int64
        The best one first.
    residuals : torch.Tensor of shape (n_rows, n_kept, n_dimensions)
    """
    residuals = rows[:, None]
    codes = rows.new_empty(rows.shape[0], 1, 0, dtype=torch.int64)
    for level in codebook:
        codes, residuals = extend_beam(codes, residuals, level, beam_width)
    return codes, residuals


def extend_beam(
    codes: torch.Tensor, residuals: torch.Tensor, level: torch.Tensor, beam_width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Append a centroid of one more level to the codes of a beam, and keep the best codes."""
    n_rows, n_kept, n_dimensions = residuals.shape
    distances = _squared_distances(residuals.flatten(0, 1), level)
    distances = distances.view(n_rows, n_kept, -1) + residuals.square().sum(2, keepdim=True)
    width = min(beam_width, n_kept * N_CENTROIDS)
    best = distances.flatten(1).topk(width, dim=1, largest=False).indices
    origins, chosen = best // N_CENTROIDS, best % N_CENTROIDS
    origins = origins[..., None]
    codes = codes.gather(1, origins.expand(-1, -1, codes.shape[2]))
    residuals = residuals.gather(1, origins.expand(-1, -1, n_dimensions)) - level[chosen]
    return torch.cat([codes, chosen[..., None]], dim=2), residuals


def _squared_distances(rows: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    """Squared distances to centroids, less the squared norm of each row."""
    return torch.addmm(centroids.square().sum(1), rows, centroids.T, alpha=-2)
