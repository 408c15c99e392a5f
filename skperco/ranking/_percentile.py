"""Exact and soft percentile ranks of dissimilarities."""

from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from skperco.ranking._prefix_sums import prefix_sums
from skperco.ranking._row_spread import row_spread
from skperco.ranking._sorting import (
    INTEGERS,
    UNSIGNED,
    arrange,
    positions,
    run_starts,
    sort_rows,
    tie_bounds,
    tie_runs,
)
from skperco.utils._numbers import check_number
from skperco.utils._tensors import check_dissimilarities

_ENTRIES_PER_BLOCK = 2**17


def percentile_rank(
    dissimilarities: torch.Tensor, *, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Exact percentile ranks along the last axis, ties sharing their middle rank.

    The rank of entry j of a row d is P[d_k < d_j] + P[d_k = d_j] / 2 over the entries k of
    that row, j included: 0.5 / n for the nearest of n, (n - 0.5) / n for the farthest.

    Parameters
    ----------
    dissimilarities : torch.Tensor of shape (n_anchors, n_references), float32 or float64
        One row per anchor.
    weights : torch.Tensor of shape (n_references,) or (n_anchors, n_references), default=None
        Non-negative weights of the references, which define the probabilities, not all zero; all
        equal if None.

    Returns
    -------
    ranks : torch.Tensor of shape (n_anchors, n_references)
        In [0, 1], in the dtype of `dissimilarities`. Infinite entries are ranked like finite ones;
        if an entry of a row is NaN, all ranks of the row are NaN.

    Raises
    ------
    TypeError
        If an argument is not a tensor, or `dissimilarities` has another dtype.
    ValueError
        If `dissimilarities` is not a dense matrix, `weights` has another shape, a weight on the CPU
        is negative, or the two are on different devices or on a device without double precision.

    Examples
    --------
    >>> import torch
    >>> from skperco import percentile_rank
    >>> percentile_rank(torch.tensor([[0.3, 0.1, 0.3, 7.0]]))
    tensor([[0.5000, 0.1250, 0.5000, 0.8750]])
    """
    check_dissimilarities(dissimilarities, weights)
    ordered, order = sort_rows(dissimilarities.detach())
    ranks = _middle_ranks(ordered, arrange(weights, order), ordered[:, -1].isnan())
    return _restored(ranks, order, dissimilarities)


def soft_percentile_rank(
    dissimilarities: torch.Tensor,
    *,
    bandwidth: float = 0.1,
    scale: float | torch.Tensor | None = None,
    weights: torch.Tensor | None = None,
    straight_through: bool = False,
) -> torch.Tensor:
    r"""Differentiable percentile ranks along the last axis.

    .. math:: \rho_j = \frac1n \sum_k K\left(\frac{d_j - d_k}{\sigma}\right), \qquad
              K(u) = \operatorname{clip}(1/2 + u/2,\, 0,\, 1)

    where :math:`\sigma` is `bandwidth` times `scale`. As the bandwidth tends to 0, these tend to
    the ranks of :func:`percentile_rank`.

    Parameters
    ----------
    dissimilarities : torch.Tensor of shape (n_anchors, n_references), float32 or float64
        One row per anchor.
    bandwidth : float, default=0.1
        Half-width of the kernel's window, in units of `scale`. Non-negative; 0 gives exact ranks
        without a gradient.
    scale : float or torch.Tensor of shape (n_anchors, 1), default=None
        Unit of the bandwidth; the standard deviation of each row if None, so that the ranks do
        not depend on the scale of the dissimilarities. No gradient is computed for it.
    weights : torch.Tensor of shape (n_references,) or (n_anchors, n_references), default=None
        Non-negative weights of the references, not all zero; all equal if None.
    straight_through : bool, default=False
        Whether to return the ranks of :func:`percentile_rank` with the gradient of the soft ranks
        (a straight-through estimator).

    Returns
    -------
    ranks : torch.Tensor of shape (n_anchors, n_references)
        In [0, 1], in the dtype of `dissimilarities`; their (weighted) mean over each row is 1/2.
        If an entry of a row is NaN or infinite, all ranks of the row are NaN, and so is its
        gradient.

    Raises
    ------
    TypeError
        If `dissimilarities` or `weights` is not a tensor, `dissimilarities` has another dtype, or
        `bandwidth` or `scale` is not a number.
    ValueError
        If `bandwidth`, `scale` or a weight on the CPU is negative, `dissimilarities` is not a dense
        matrix, `weights` or `scale` has another shape, or the tensors are on different devices or
        on a device without double precision.

    Notes
    -----
    The kernel is piecewise linear, and the entries inside its window are contiguous in the sorted
    row. Hence the ranks are computed from prefix sums, and so is the gradient,
    :math:`\partial L/\partial d_j = \frac{1}{2\sigma n}\left(|W_j|\, g_j - \sum_{k\in W_j}
    g_k\right)` with :math:`g = \partial L/\partial\rho` and the window :math:`W_j` of entry j. A
    row of n references takes O(n log n) time and O(n) memory.

    Examples
    --------
    >>> import torch
    >>> from skperco import soft_percentile_rank
    >>> row = torch.tensor([[0.3, 0.1, 0.35, 7.0]])
    >>> soft_percentile_rank(row, bandwidth=0.1, scale=1.0)
    tensor([[0.4375, 0.1250, 0.5625, 0.8750]])
    """
    check_dissimilarities(dissimilarities, weights)
    check_number(bandwidth, "bandwidth", least=0)
    if scale is None:
        scale = row_spread(dissimilarities)
    else:
        _check_scale(scale, len(dissimilarities))
    sigma = torch.as_tensor(
        bandwidth * scale, dtype=dissimilarities.dtype, device=dissimilarities.device
    ).expand(len(dissimilarities), 1)
    # A window of width zero holds only the ties of an entry, so the soft ranks are the exact ones.
    straight_through = straight_through or bandwidth == 0
    ranks = [
        _SoftPercentileRank.apply(*block, straight_through)
        for block in _blocks(dissimilarities, sigma, weights)
    ]
    return ranks[0] if len(ranks) == 1 else torch.cat(ranks)


def _check_scale(scale: float | torch.Tensor, n_rows: int) -> None:
    """Raise a TypeError or ValueError unless a scale is a number or a column of n_rows numbers."""
    if not torch.is_tensor(scale):
        check_number(scale, "scale", least=0)
    elif scale.shape not in ((), (1,), (1, 1), (n_rows, 1)):
        raise ValueError(
            f"scale must be a number or have shape ({n_rows}, 1), got shape {tuple(scale.shape)}."
        )


def _blocks(
    dissimilarities: torch.Tensor, sigma: torch.Tensor, weights: torch.Tensor | None
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]:
    """Blocks of rows that fit into the cache of a CPU; one block on other devices."""
    n_rows, n = dissimilarities.shape
    size = n_rows
    if dissimilarities.device.type == "cpu":
        size = max(1, min(n_rows, _ENTRIES_PER_BLOCK // max(1, n)))
    parts: Iterable[torch.Tensor | None] = (
        repeat(None) if weights is None else weights.expand(n_rows, n).split(size)
    )
    return zip(dissimilarities.split(size), sigma.split(size), parts, strict=False)


class _SoftPercentileRank(torch.autograd.Function):
    """Soft ranks with a backward pass by windowed sums.

    Forward and backward take 0.4 times as long as autograd through the same sort and prefix sums,
    and 1/180 of the time of the quadratic form (256 x 512, float32, one thread).
    """

    @staticmethod
    def forward(
        ctx: Any,
        dissimilarities: torch.Tensor,
        sigma: torch.Tensor,
        weights: torch.Tensor | None,
        straight_through: bool,
    ) -> torch.Tensor:
        ordered, order = sort_rows(dissimilarities)
        weights = arrange(weights, order)
        # Differences to the smallest entry keep the prefix sums small, and are not negative.
        above = ordered - ordered[:, :1]
        start, stop = _windows(above, sigma)
        low, high = start, stop
        total: int | torch.Tensor = ordered.shape[1]
        if weights is not None:
            mass = prefix_sums(weights)
            low, high, total = mass.gather(1, start), mass.gather(1, stop), mass[:, -1:]
        last = above[:, -1:]
        inside = (high - low).double()
        slope = torch.where(torch.minimum(sigma, last) > 0, 0.5 / sigma.double(), 0)
        # 0 if all entries of the row are finite; else NaN, since the largest difference is not.
        undefined = 0 * last
        slope += undefined
        ctx.save_for_backward(order, start, stop, weights, inside, slope / total)
        if straight_through:
            ranks = _middle_ranks(ordered, weights, undefined.isnan().squeeze(1))
            return _restored(ranks, order, dissimilarities)
        # In narrow windows the products cancel, which needs double precision. One conversion is
        # faster than one in each operation.
        above = above.double()
        weighted = above if weights is None else weights.double() * above
        window_sums = _window_sums(prefix_sums(weighted), start, stop)
        doubled = (low + high).double().addcmul_((inside * above).sub_(window_sums), 2 * slope)
        # A division takes three times as long as a product.
        return _restored(doubled.mul_(0.5 / total), order, dissimilarities)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        order, start, stop, weights, inside, slope = ctx.saved_tensors
        arranged = grad.gather(1, order).double()
        neighbors = _window_sums(prefix_sums(arranged), start, stop)
        if weights is not None:
            neighbors *= weights
        grad_ordered = arranged.mul_(inside).sub_(neighbors).mul_(slope)
        return _restored(grad_ordered, order, grad), None, None, None


def _middle_ranks(
    ordered: torch.Tensor, weights: torch.Tensor | None, undefined: torch.Tensor
) -> torch.Tensor:
    """Exact ranks of sorted rows, ties sharing their middle rank; NaN in undefined rows.

    `undefined` is a mask of shape (n_rows,).
    """
    on_cpu = ordered.device.type == "cpu"
    if weights is None:
        ranks = _unweighted_ranks_on_cpu(ordered) if on_cpu else _unweighted_ranks(ordered)
    else:
        start, stop = tie_bounds(ordered)
        mass = prefix_sums(weights)
        ranks = (mass.gather(1, start) + mass.gather(1, stop)) / (2 * mass[:, -1:])
    # Skipping this saves a pass, but the test needs a synchronization on devices other than the
    # CPU, and a traced graph cannot branch on it.
    if on_cpu and not torch.compiler.is_compiling() and not undefined.any():
        return ranks
    return ranks.masked_fill(undefined[:, None], torch.nan)


def _unweighted_ranks(ordered: torch.Tensor) -> torch.Tensor:
    start, stop = tie_bounds(ordered)
    return (start + stop).to(ordered.dtype).div_(2 * ordered.shape[1])


def _unweighted_ranks_on_cpu(ordered: torch.Tensor) -> torch.Tensor:
    """Ranks of untied entries, the same in all rows, corrected where entries tie."""
    n_rows, n = ordered.shape
    ranks = (2 * positions(n) + 1).to(ordered.dtype).div_(2 * n).expand(n_rows, n)
    heads, followers, lengths = tie_runs(run_starts(ordered))
    if len(heads):
        ranks = ranks.clone(memory_format=torch.contiguous_format)
        doubled = torch.from_numpy(2 * (heads % n) + 1 + lengths)
        middle = doubled.to(ordered.dtype).div_(2 * n).numpy()
        flat = ranks.numpy().reshape(-1)
        flat[heads] = middle
        flat[followers] = np.repeat(middle, lengths)
    return ranks


def _restored(arranged: torch.Tensor, order: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Undo a sort: the entries of sorted rows in their original order."""
    return torch.empty_like(like).scatter_(1, order, arranged.to(like.dtype))


def _windows(above: torch.Tensor, sigma: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Bounds of the windows |d_j - d_k| <= sigma, for sorted rows that begin with 0.

    The windows are symmetric in spite of rounding, since both bounds come from one comparison: for
    j < k, entry k is in the window of j, and j in that of k, if and only if start[k] <= j.
    """
    if above.device.type == "cpu":
        return _merged_bounds(above, sigma)
    # searchsorted puts NaN after the end; clamping keeps the indices valid. Such ranks become NaN.
    start = torch.searchsorted(above, above - sigma).clamp_(max=above.shape[1] - 1)
    counts = torch.zeros_like(start).scatter_add_(1, start, torch.ones_like(start))
    return start, counts.cumsum(1)


def _merged_bounds(above: torch.Tensor, sigma: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Bounds of the windows by one sort of the values and their lower bounds together.

    This is faster than a binary search. The sort keys are the bit patterns of the floating-point
    numbers, which have the order of the numbers, since none is negative. The sign bit is therefore
    not needed: the patterns are shifted by one bit, and the last bit is 1 for values and 0 for
    bounds. The keys are sorted as unsigned integers.
    """
    n_rows, n = above.shape
    both = torch.cat([above - sigma, above], dim=1).clamp_(min=0)
    keys = both.view(INTEGERS[both.dtype])
    keys.bitwise_left_shift_(1)
    keys[:, n:] += 1
    keys.numpy().view(UNSIGNED[keys.dtype]).sort(axis=-1)
    is_entry = keys.bitwise_and_(1).numpy().astype(bool)
    # The position of a bound minus the number of bounds before it is the number of values before
    # it, and vice versa.
    offsets = positions(n) + 2 * n * positions(n_rows)[:, None]
    start, stop = (
        torch.from_numpy(np.flatnonzero(marked)).view(n_rows, n).sub_(offsets)
        for marked in (~is_entry, is_entry)
    )
    return start, stop


def _window_sums(prefix: torch.Tensor, start: torch.Tensor, stop: torch.Tensor) -> torch.Tensor:
    return prefix.gather(1, stop).sub_(prefix.gather(1, start))
