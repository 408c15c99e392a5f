"""Scalar codes (transform coding): one of a number of levels for each dimension."""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

_BITS_PER_BYTE = 8


class ScalarCode(torch.nn.Module):
    """Levels of normal variables, whose indices share words of one or two bytes.

    Each dimension has a number of levels of its own. The indices of the dimensions of a word are
    the digits of a number with mixed radix, so that numbers of levels need not be powers of two.
    The first dimension of a word is the least significant digit, and so is its first byte.

    Parameters
    ----------
    n_levels : torch.Tensor of shape (n_components,), int64
        Number of levels of each dimension.
    scales : torch.Tensor of shape (n_components,), float32
        Standard deviation of each dimension.
    widths : torch.Tensor of shape (n_words,), int64
        Number of dimensions of each word. The first word has the first dimensions, and so on. The
        product of their numbers of levels is at most that of the values of a word.
    sizes : torch.Tensor of shape (2,), int64
        Number of bytes of a word, and of a code. Bytes that are left over are zero.
    """

    n_levels: torch.Tensor
    scales: torch.Tensor
    widths: torch.Tensor
    _powers: torch.Tensor
    _radices: torch.Tensor
    _members: torch.Tensor
    _word_of: torch.Tensor
    _levels: torch.Tensor
    _offsets: torch.Tensor

    def __init__(
        self,
        n_levels: torch.Tensor,
        scales: torch.Tensor,
        widths: torch.Tensor,
        sizes: torch.Tensor,
    ) -> None:
        super().__init__()
        self.register_buffer("n_levels", n_levels)
        self.register_buffer("scales", scales)
        self.register_buffer("widths", widths)
        self.register_buffer("sizes", sizes)
        self.word_bytes, self.n_bytes = sizes.tolist()
        self.n_components = len(n_levels)
        powers = 2 ** (_BITS_PER_BYTE * torch.arange(self.word_bytes))
        self.register_buffer("_powers", powers, persistent=False)
        for name, value in _layout(n_levels.numpy(), widths.numpy()).items():
            self.register_buffer(name, torch.from_numpy(value), persistent=False)

    def encode(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Codes of embeddings, uint8 of shape (n_rows, n_bytes)."""
        # The compressor of an optimal compander for normal variables: cells are equally likely
        # under three times the variance.
        shares = 0.5 * (1 + torch.erf(embeddings / (self.scales * 6**0.5)))
        indices = (shares * self.n_levels).floor().long()
        indices = indices.clamp(min=0).minimum(self.n_levels - 1)
        digits = torch.nn.functional.pad(indices * self._radices, (0, 1))
        words = digits[:, self._members].unflatten(1, (len(self.widths), -1)).sum(2)
        codes = (words[:, :, None] // self._powers % 2**_BITS_PER_BYTE).flatten(1)
        codes = torch.nn.functional.pad(codes, (0, self.n_bytes - codes.shape[1]))
        return codes.to(torch.uint8)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Embeddings of codes, float32 of shape (n_rows, n_components)."""
        used = codes[:, : self.word_bytes * len(self.widths)].long()
        words = (used.unflatten(1, (-1, self.word_bytes)) * self._powers).sum(2)
        return self._decoded(words[:, self._word_of], slice(None))

    def centroids(self, word: int) -> NDArray[np.float32]:
        """Decoded dimensions of all values of a word, (n_values, number of its dimensions)."""
        values = torch.arange(2 ** (_BITS_PER_BYTE * self.word_bytes))
        return self._decoded(values[:, None], self._word_of == word).numpy()

    def _decoded(self, words: torch.Tensor, columns: torch.Tensor | slice) -> torch.Tensor:
        """Some dimensions of rows, from the values of the word of each dimension."""
        indices = words // self._radices[columns] % self.n_levels[columns]
        return self._levels[self._offsets[columns] + indices] * self.scales[columns]


def _layout(n_levels: NDArray[np.int64], widths: NDArray[np.int64]) -> dict[str, NDArray]:
    """Buffers that depend on the numbers of levels and of dimensions only."""
    ends = np.cumsum(widths)
    radices = np.concatenate(
        [np.cumprod(np.append(1, part[:-1])) for part in np.split(n_levels, ends[:-1])]
    )
    # The dimensions of each word; shorter words are filled up with a digit of zero.
    columns = (ends - widths)[:, None] + np.arange(widths.max())
    members = np.where(columns < ends[:, None], columns, len(n_levels))
    distinct, positions = np.unique(n_levels, return_inverse=True)
    tables = [normal_levels(int(n)) for n in distinct]
    starts = np.cumsum([0, *(len(table) for table in tables)])[:-1]
    return {
        "_radices": radices,
        "_members": members.ravel(),
        "_word_of": np.repeat(np.arange(len(widths)), widths),
        "_levels": np.concatenate(tables).astype(np.float32),
        "_offsets": starts[positions],
    }


def normal_levels(n_levels: int) -> NDArray[np.float64]:
    """Levels of a scalar quantizer for a standard normal variable, in ascending order.

    The cells are equally likely under three times the variance, which is asymptotically optimal
    (Panter and Dite, 1951), and each level is the mean of its cell, the centroid condition of
    Lloyd (1982) and Max (1960).
    """
    probabilities, densities = _cells(n_levels)
    return -np.diff(densities) / np.diff(probabilities)


@cache
def normal_error(n_levels: int) -> float:
    """Mean squared error of the levels of a standard normal variable."""
    probabilities, _ = _cells(n_levels)
    return max(0.0, 1 - float(np.diff(probabilities) @ normal_levels(n_levels) ** 2))


def _cells(n_levels: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distribution function and density at the bounds of the cells."""
    bounds = np.sqrt(3) * ndtri(np.arange(n_levels + 1) / n_levels)
    return ndtr(bounds), np.exp(-(bounds**2) / 2) / np.sqrt(2 * np.pi)
