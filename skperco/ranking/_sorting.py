"""Sorts of rows, and the runs of ties in sorted rows."""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

INTEGERS = {torch.float32: torch.int32, torch.float64: torch.int64}
UNSIGNED = {torch.int32: np.uint32, torch.int64: np.uint64}


def tie_bounds(ordered: torch.Tensor, *, rtol: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Bounds of the run of ties around each entry of sorted rows.

    Parameters
    ----------
    ordered : torch.Tensor of shape (n_rows, n)
        Rows in ascending order, non-negative if `rtol` is positive.
    rtol : float, default=0.0
        Neighboring values tie if they differ by at most this fraction of the row's largest.

    Returns
    -------
    start, stop : torch.Tensor of shape (n_rows, n), int64
        The run around entry j is ``ordered[start[j]:stop[j]]``.
    """
    starts = run_starts(ordered, rtol=rtol)
    if ordered.device.type == "cpu":
        return _bounds_by_exception(starts)
    begins = torch.nn.functional.pad(starts, (1, 0), value=True)
    positions = torch.arange(ordered.shape[1], device=ordered.device)
    start = torch.where(begins, positions, 0).cummax(1).values
    lengths = torch.zeros_like(start).scatter_add_(1, start, torch.ones_like(start))
    return start, start + lengths.gather(1, start)


def _bounds_by_exception(starts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Bounds of all runs of ties: those of untied entries, corrected where entries tie.

    This is fast when few entries tie.
    """
    n_rows, n = len(starts), starts.shape[1] + 1
    start = positions(n).repeat(n_rows, 1)
    stop = start + 1
    heads, followers, lengths = tie_runs(starts)
    if len(heads):
        start_at, stop_at = start.numpy().reshape(-1), stop.numpy().reshape(-1)
        stop_at[heads] += lengths
        start_at[followers] = np.repeat(start_at[heads], lengths)
        stop_at[followers] = np.repeat(stop_at[heads], lengths)
    return start, stop


def tie_runs(
    starts: torch.Tensor,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Runs of two or more ties in sorted rows on the CPU.

    Parameters
    ----------
    starts : torch.Tensor of shape (n_rows, n - 1), bool
        As from :func:`run_starts`.

    Returns
    -------
    heads, followers : ndarray, int64
        Indices into the flattened rows: the first entry of each run, and all its other entries.
    lengths : ndarray, int64
        Number of followers of each head.
    """
    followers = np.flatnonzero(~starts.numpy())
    followers += followers // max(1, starts.shape[1]) + 1
    is_first = np.diff(followers, prepend=-1) > 1
    heads = followers[is_first] - 1
    lengths = np.diff(np.flatnonzero(is_first), append=len(followers))
    return heads, followers, lengths


def run_starts(ordered: torch.Tensor, *, rtol: float = 0.0) -> torch.Tensor:
    """Whether each entry of sorted rows, except the first, is above the one before it.

    Parameters
    ----------
    ordered, rtol
        As for :func:`tie_bounds`.

    Returns
    -------
    starts : torch.Tensor of shape (n_rows, n - 1), bool
    """
    if rtol == 0:
        return ordered[:, 1:] > ordered[:, :-1]
    return ordered[:, 1:] - ordered[:, :-1] > rtol * ordered[:, -1:]


def sort_rows(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sort the last axis: (sorted values, indices). The sort is not stable; NaN comes last."""
    if values.device.type != "cpu":
        return values.sort(dim=-1)
    return _SORTS.get(values.dtype, _sort_others)(values)


# NumPy's vectorized sorts are several times as fast as PyTorch's on the CPU, and sorting integer
# keys that contain the position of each entry is faster than argsort.
def _sort_others(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    order = torch.from_numpy(np.argsort(values.numpy(), axis=-1))
    return values.gather(-1, order), order


def _sort_singles(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    least = _least(values)
    keys = _as_integers(values, least).long().bitwise_left_shift_(32)
    keys.bitwise_or_(positions(values.shape[-1]))
    keys.numpy().sort(axis=-1)
    order = keys.bitwise_and_(2**32 - 1)
    ordered = values.gather(-1, order)
    # The keys of NaN with a negative sign are the smallest.
    wrong = ordered[..., 0].isnan() if math.isnan(least) else None
    return _sorted_again(values, ordered, order, wrong)


def _sort_doubles(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sort keys whose last bits are replaced by the positions.

    Rows in which values differ only in these bits may be out of order; they are sorted again.
    """
    bits = values.shape[-1].bit_length()
    keys = _as_integers(values, _least(values)) & -(2**bits)
    keys.bitwise_or_(positions(values.shape[-1]))
    keys.numpy().sort(axis=-1)
    order = keys.bitwise_and_(2**bits - 1)
    ordered = values.gather(-1, order)
    ascending = torch.from_numpy((ordered.numpy()[..., 1:] >= ordered.numpy()[..., :-1]).all(-1))
    return _sorted_again(values, ordered, order, ~ascending)


def _sorted_again(
    values: torch.Tensor, ordered: torch.Tensor, order: torch.Tensor, wrong: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sort again the rows that are marked as wrong, if there are any."""
    if wrong is not None and wrong.any():
        ordered[wrong], order[wrong] = _sort_others(values[wrong])
    return ordered, order


_Sort = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
_SORTS: dict[torch.dtype, _Sort] = {torch.float32: _sort_singles, torch.float64: _sort_doubles}


def _least(values: torch.Tensor) -> float:
    """Smallest entry; NaN if an entry is, and 0 if there is none."""
    return values.min().item() if values.numel() else 0.0


def _as_integers(values: torch.Tensor, least: float) -> torch.Tensor:
    """Convert the bit patterns of floating-point numbers to integers of the same order."""
    dtype = INTEGERS[values.dtype]
    integers = values.contiguous().view(dtype)
    if least >= 0:
        return integers
    # The bit patterns of negative numbers are in the opposite order.
    sign = integers >> (torch.iinfo(dtype).bits - 1)
    return sign.bitwise_and_(torch.iinfo(dtype).max).bitwise_xor_(integers)


def positions(n: int) -> torch.Tensor:
    """0, 1, ..., n - 1 on the CPU, whatever the default device is."""
    return torch.arange(n, device="cpu")


def sort_values(values: torch.Tensor) -> torch.Tensor:
    """Sort the last axis, without the indices."""
    if values.device.type != "cpu":
        return values.sort(dim=-1).values
    return torch.from_numpy(np.sort(values.numpy(), axis=-1))


def arrange(weights: torch.Tensor | None, order: torch.Tensor) -> torch.Tensor | None:
    """Permute the weights of the references into the order of each sorted row; None stays None."""
    return None if weights is None else weights.expand(order.shape).gather(1, order)
