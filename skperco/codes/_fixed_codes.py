"""Codes with the same few bits for each dimension, which many databases search themselves."""

import numpy as np
import torch
from numpy.typing import NDArray

_BITS_PER_BYTE = 8
# Steps to choose from, by the value of the largest level as a fraction of the largest entry.
_RANGES = np.geomspace(0.1, 1, 50)


class IntegerCode(torch.nn.Module):
    """Unsigned integers of 4 or 8 bits with one step for all dimensions.

    The zero point is 8 or 128. Since the step is the same for all dimensions, the integers minus
    the zero point have the same cosines as the decoded embeddings. Of two dimensions that share a
    byte, the first one has the low bits.

    Parameters
    ----------
    step : torch.Tensor of shape (), float32
    sizes : torch.Tensor of shape (3,), int64
        Number of bits, of dimensions and of bytes. Bits that are left over are zero.
    """

    step: torch.Tensor

    def __init__(self, step: torch.Tensor, sizes: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("step", step)
        self.register_buffer("sizes", sizes)
        self.n_bits, self.n_components, self.n_bytes = sizes.tolist()
        self._zero_point = 2 ** (self.n_bits - 1)

    def encode(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Codes of embeddings, uint8 of shape (n_rows, n_bytes)."""
        levels = (embeddings / self.step).round() + self._zero_point
        return _packed(levels.clamp(0, 2**self.n_bits - 1).long(), self.n_bits, self.n_bytes)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Embeddings of codes, float32 of shape (n_rows, n_components)."""
        levels = _unpacked(codes, self.n_bits)[:, : self.n_components]
        return (levels - self._zero_point).float() * self.step


class BinaryCode(torch.nn.Module):
    """One bit for the sign of each dimension; the first dimension of a byte has the highest bit.

    This is the order of :func:`numpy.packbits`, of "ubinary" in sentence-transformers and of
    the text form of bits in pgvector.

    Parameters
    ----------
    magnitude : torch.Tensor of shape (), float32
        Absolute value of the entries of decoded embeddings.
    sizes : torch.Tensor of shape (2,), int64
        Number of dimensions and of bytes. Bits that are left over are zero.
    """

    magnitude: torch.Tensor

    def __init__(self, magnitude: torch.Tensor, sizes: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("magnitude", magnitude)
        self.register_buffer("sizes", sizes)
        self.n_components, self.n_bytes = sizes.tolist()

    def encode(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Codes of embeddings, uint8 of shape (n_rows, n_bytes)."""
        bits = torch.nn.functional.pad(
            (embeddings > 0).long(), (0, _BITS_PER_BYTE * self.n_bytes - self.n_components)
        )
        # Packing puts the first dimension of a byte into the lowest bit.
        reversed_bits = bits.unflatten(1, (-1, _BITS_PER_BYTE)).flip(2).flatten(1)
        return _packed(reversed_bits, 1, self.n_bytes)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Embeddings of codes, float32 of shape (n_rows, n_components)."""
        bits = _unpacked(codes, 1).unflatten(1, (-1, _BITS_PER_BYTE)).flip(2).flatten(1)
        return (2 * bits[:, : self.n_components] - 1).float() * self.magnitude


def _packed(levels: torch.Tensor, n_bits: int, n_bytes: int) -> torch.Tensor:
    """Pack integers of `n_bits` bits into bytes, the first one of a byte into its low bits."""
    per_byte = _BITS_PER_BYTE // n_bits
    levels = torch.nn.functional.pad(levels, (0, per_byte * n_bytes - levels.shape[1]))
    factors = 2 ** (n_bits * torch.arange(per_byte, device=levels.device))
    return (levels.unflatten(1, (n_bytes, per_byte)) * factors).sum(2).to(torch.uint8)


def _unpacked(codes: torch.Tensor, n_bits: int) -> torch.Tensor:
    """Undo :func:`_packed`, int64 of shape (n_rows, number of integers)."""
    per_byte = _BITS_PER_BYTE // n_bits
    divisors = 2 ** (n_bits * torch.arange(per_byte, device=codes.device))
    return (codes.long()[:, :, None] // divisors % 2**n_bits).flatten(1)


def train_integer_code(
    embeddings: NDArray[np.float32],
    n_bytes: int,
    n_bits: int,
    *,
    sample_weight: NDArray[np.floating],
) -> IntegerCode:
    """Choose the step with the least mean squared error.

    Parameters
    ----------
    embeddings : ndarray of shape (n_rows, n_components), float32
    n_bytes : int
    n_bits : {4, 8}
    sample_weight : ndarray of shape (n_rows,)

    Returns
    -------
    code : IntegerCode
        On the CPU.
    """
    largest = float(np.abs(embeddings).max()) or 1.0
    most = 2 ** (n_bits - 1) - 1
    steps = (largest * _RANGES / most).astype(np.float32)

    def error(step: np.float32) -> float:
        decoded = (embeddings / step).round().clip(-most - 1, most) * step
        return float(sample_weight @ ((embeddings - decoded) ** 2).sum(1))

    step = torch.tensor(min(steps, key=error))
    return IntegerCode(step, torch.tensor([n_bits, embeddings.shape[1], n_bytes]))


def train_binary_code(
    embeddings: NDArray[np.float32], n_bytes: int, *, sample_weight: NDArray[np.floating]
) -> BinaryCode:
    """Binary code whose decoded entries have the mean magnitude of the embeddings' entries."""
    magnitude = np.average(np.abs(embeddings).mean(1), weights=sample_weight) or 1.0
    sizes = torch.tensor([embeddings.shape[1], n_bytes])
    return BinaryCode(torch.tensor(magnitude, dtype=torch.float32), sizes)
