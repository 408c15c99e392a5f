"""Module from rows of input to embeddings without quantization, and to codes."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skperco.dissimilarity._dense import unit_rows

_NEIGHBOR = 10


class CodeEncoder(torch.nn.Module):
    """An embedder, a rotation of its embeddings, and a code of the rotated embeddings.

    Parameters
    ----------
    embedder : torch.nn.Module
        From rows of input to embeddings.
    code : torch.nn.Module
        With the methods `encode` and `decode`.
    offset : torch.Tensor of shape (n_components,), float32
        Subtracted from the embeddings before the rotation.
    rotation : torch.Tensor of shape (n_components, n_components), float32
        Orthogonal matrix.
    query_scale : torch.Tensor of shape (), float32
        Of queries that are compared with decoded embeddings without normalization, as from
        :func:`scale_of_queries`.
    unit_norm : bool
        Whether decoded embeddings are scaled to unit norm.
    """

    offset: torch.Tensor
    rotation: torch.Tensor
    query_scale: torch.Tensor

    def __init__(
        self,
        embedder: torch.nn.Module,
        code: Any,
        offset: torch.Tensor,
        rotation: torch.Tensor,
        query_scale: torch.Tensor,
        *,
        unit_norm: bool,
    ) -> None:
        super().__init__()
        self.embedder = embedder
        self.code = code
        self.register_buffer("offset", offset)
        self.register_buffer("rotation", rotation)
        self.register_buffer("query_scale", query_scale)
        self.unit_norm = unit_norm

    def embed(self, rows: torch.Tensor) -> torch.Tensor:
        """Embeddings without quantization, float32 of shape (n_rows, n_components).

        Autocast does not apply, here and in :meth:`forward`.
        """
        with torch.autocast(rows.device.type, enabled=False):
            return (self.embedder(rows) - self.offset) @ self.rotation

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Codes of rows, uint8 of shape (n_rows, n_bytes)."""
        with torch.autocast(rows.device.type, enabled=False):
            return self.code.encode(self.embed(rows))

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Embeddings of codes, float32 of shape (n_rows, n_components)."""
        embeddings = self.code.decode(codes)
        return unit_rows(embeddings) if self.unit_norm else embeddings


def random_rotation(n_components: int, random_state: np.random.RandomState) -> NDArray[np.float32]:
    """Draw a random orthogonal matrix of shape (n_components, n_components)."""
    normal = random_state.standard_normal((n_components, n_components))
    q, r = np.linalg.qr(normal)
    # With the signs of the diagonal the distribution is uniform (Mezzadri, 2007).
    return (q * np.where(np.diag(r) < 0, -1, 1)).astype(np.float32)


def scale_of_queries(queries: NDArray[np.float32], decoded: NDArray[np.float32]) -> float:
    """Scale of unit queries q for which |t q - c| orders decoded rows c nearly as cosines do.

    With s = q.c and n = |c|, the cosine is s / n, and the squared distance orders as n^2 - 2 t s.
    Near a point (s, n) both have the same contours if t = n^2 / s. The scale is computed from the
    mean of s over the tenth neighbors of the queries, and from the mean of n^2.

    Parameters
    ----------
    queries : ndarray of shape (n_queries, n_components), float32
        Of unit norm.
    decoded : ndarray of shape (n_rows, n_components), float32
        Without normalization.

    Returns
    -------
    scale : float
        1 if the similarities are not positive.
    """
    norms = np.linalg.norm(decoded, axis=1)
    products = queries @ decoded.T
    cosines = products / np.where(norms > 0, norms, 1)
    nth = min(_NEIGHBOR, len(decoded))
    neighbors = np.argpartition(-cosines, nth - 1, axis=1)[:, nth - 1 : nth]
    similarity = float(np.take_along_axis(products, neighbors, axis=1).mean())
    return float((norms**2).mean()) / similarity if similarity > 0 else 1.0
