"""Percentile ranks of rows of dissimilarities: exact, and soft with their gradient."""

from itertools import repeat

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from skperco.ranking._sorting import _INTEGERS, _positions, arrange, sort_rows, tie_bounds
from skperco.utils._tensors import check_double, check_matrices

_ENTRIES_PER_BLOCK = 2**17


def percentile_rank(dissimilarities, *, weights=None):
    """Exact percentile ranks along the last axis, ties sharing their middle rank.

    The rank of entry j of a row d is P[d_k < d_j] + P[d_k = d_j] / 2 over the entries k of
    that row, j included: 0.5 / n for the nearest of n, (n - 0.5) / n for the farthest.

    Parameters
    ----------
    dissimilarities : torch.Tensor of shape (n_anchors, n_references)
        One row per anchor.
    weights : torch.Tensor of shape (n_references,) or (n_anchors, n_references), default=None
        Non-negative weights of the references, which the probabilities then follow; all equal
        if None.

    Returns
    -------
    ranks : torch.Tensor of shape (n_anchors, n_references)
        In [0, 1], floating point, in the dtype of `dissimilarities`. An infinite entry is an
        ordinary largest (or smallest) value; a row that holds NaN has no order, and all its
        ranks are NaN.

    Raises
    ------
    TypeError
        If an argument is no tensor.
    ValueError
        If an argument has another number of dimensions, is on another device, or is on a device
        without double precision.

    Examples
    --------
    >>> import torch
    >>> from skperco import percentile_rank
    >>> percentile_rank(torch.tensor([[0.3, 0.1, 0.3, 7.0]]))
    tensor([[0.5000, 0.1250, 0.5000, 0.8750]])
    """
    _check(dissimilarities, weights)
    ordered, order = sort_rows(dissimilarities.detach())
    ranks = _middle_ranks(ordered, arrange(weights, order), ordered[:, -1].isnan())
    return _restored(ranks, order, dissimilarities)


def soft_percentile_rank(
    dissimilarities, *, bandwidth=0.1, scale=None, weights=None, straight_through=False
):
    r"""Differentiable percentile ranks along the last axis.

    .. math:: \rho_j = \frac1n \sum_k K\left(\frac{d_j - d_k}{\sigma}\right), \qquad
              K(u) = \operatorname{clip}(1/2 + u/2,\, 0,\, 1)

    where :math:`\sigma` is `bandwidth` times the spread of the row. As the bandwidth goes to
    0 these become the ranks of :func:`percentile_rank`.

    Parameters
    ----------
    dissimilarities : torch.Tensor of shape (n_anchors, n_references)
        One row per anchor.
    bandwidth : float, default=0.1
        Half-width of the window inside which two references share their ranks, in units of
        `scale`. Non-negative; 0 gives exact ranks without a gradient.
    scale : float or torch.Tensor of shape (n_anchors, 1), default=None
        Unit of the bandwidth; the standard deviation of each row if None, so that the scale
        of the dissimilarities does not matter. It is a constant to the gradient.
    weights : torch.Tensor of shape (n_references,) or (n_anchors, n_references), default=None
        Non-negative weights of the references; all equal if None.
    straight_through : bool, default=False
        Whether the values are those of :func:`percentile_rank`, by the same sort. The gradient
        is that of the soft ranks in any case.

    Returns
    -------
    ranks : torch.Tensor of shape (n_anchors, n_references)
        In [0, 1]; their (weighted) mean over each row is 1/2. All ranks of a row are NaN, and
        so is its gradient, if an entry is NaN or infinite.

    Raises
    ------
    TypeError
        If an argument is no tensor.
    ValueError
        If `bandwidth` is negative, or an argument has another number of dimensions, is on another
        device, or is on a device without double precision.

    Notes
    -----
    The kernel is piecewise linear and its window is a contiguous run of the sorted row, so
    that prefix sums give the ranks, and prefix sums of the incoming gradient give the gradient
    :math:`\partial L/\partial d_j = \frac{1}{2\sigma n}\left(|W_j|\, g_j - \sum_{k\in W_j}
    g_k\right)` with :math:`g = \partial L/\partial\rho` and :math:`W_j` the window around j:
    O(n log n) time and O(n) memory for a row of n references.

    Examples
    --------
    >>> import torch
    >>> from skperco import soft_percentile_rank
    >>> row = torch.tensor([[0.3, 0.1, 0.35, 7.0]])
    >>> soft_percentile_rank(row, bandwidth=0.1, scale=1.0)
    tensor([[0.4375, 0.1250, 0.5625, 0.8750]])
    """
    _check(dissimilarities, weights)
    if bandwidth < 0:
        raise ValueError(f"bandwidth must be at least 0, got {bandwidth!r}.")
    if scale is None:
        scale = row_spread(dissimilarities)
    sigma = torch.as_tensor(
        bandwidth * scale, dtype=dissimilarities.dtype, device=dissimilarities.device
    ).expand(len(dissimilarities), 1)
    # A window of width zero is a run of ties, for which only exact ranks are exact.
    straight_through = straight_through or bandwidth == 0
    ranks = [
        _SoftPercentileRank.apply(*block, straight_through)
        for block in _blocks(dissimilarities, sigma, weights)
    ]
    return ranks[0] if len(ranks) == 1 else torch.cat(ranks)


def _check(dissimilarities, weights):
    given = {"dissimilarities": dissimilarities}
    if weights is not None:
        given["weights"] = torch.atleast_2d(weights) if torch.is_tensor(weights) else weights
    check_matrices(given)
    check_double(dissimilarities.device, "dissimilarities")


def _blocks(dissimilarities, sigma, weights):
    """Some rows at a time: as many as stay in a processor's cache; all of them elsewhere."""
    n_rows, n = dissimilarities.shape
    size = n_rows
    if dissimilarities.device.type == "cpu":
        size = max(1, min(n_rows, _ENTRIES_PER_BLOCK // max(1, n)))
    weights = repeat(None) if weights is None else weights.expand(n_rows, n).split(size)
    return zip(dissimilarities.split(size), sigma.split(size), weights, strict=False)


def row_spread(dissimilarities):
    """Standard deviation of each row, of shape (n_anchors, 1), a constant to the gradient.

    Rows whose squares would overflow or underflow are scaled first.
    """
    rows = dissimilarities.detach()
    if rows.device.type != "cpu":
        return _scaled_spread(rows)
    spread = _plain_spread(rows)
    # Within these bounds the squares lose no digits. Constant rows are outside, but rare.
    limits = torch.finfo(rows.dtype)
    least, most = (limits.tiny / limits.eps) ** 0.5, limits.max**0.5 / rows.shape[1]
    if not len(rows) or least < spread.min().item() <= spread.max().item() < most:
        return spread
    inexact = ~((spread > least) & (spread < most)).squeeze(1)
    spread[inexact] = _scaled_spread(rows[inexact])
    return spread


def _plain_spread(rows):
    centered = rows - rows.mean(1, keepdim=True)
    return torch.linalg.vector_norm(centered, dim=1, keepdim=True).div_(rows.shape[1] ** 0.5)


def _scaled_spread(rows):
    scale = power_of_two(rows.abs().amax(1, keepdim=True))
    return _plain_spread(rows / scale) * scale


def power_of_two(values):
    """Powers of two near non-negative values, by which a division is exact; 1 for zeros."""
    return torch.where(values == 0, 1, values / (2 * torch.frexp(values).mantissa))


class _SoftPercentileRank(torch.autograd.Function):
    @staticmethod
    def forward(ctx, dissimilarities, sigma, weights, straight_through):
        ordered, order = sort_rows(dissimilarities)
        weights = arrange(weights, order)
        # Distances from the row's nearest keep the prefix sums small, and have no sign.
        above = ordered - ordered[:, :1]
        start, stop = _windows(above, sigma)
        low, high, total = start, stop, ordered.shape[1]
        if weights is not None:
            mass = prefix_sums(weights)
            low, high, total = mass.gather(1, start), mass.gather(1, stop), mass[:, -1:]
        last = above[:, -1:]
        # The largest difference is finite only if all entries are: this is 0, or NaN otherwise.
        undefined = 0 * last
        total = total + undefined.double()
        inside = (high - low).double()
        slope = torch.where((sigma > 0) & (last > 0), 0.5 / sigma.double(), 0)
        ctx.save_for_backward(order, start, stop, weights, inside, slope / total)
        if straight_through:
            ranks = _middle_ranks(ordered, weights, undefined.isnan().squeeze(1))
            return _restored(ranks, order, dissimilarities)
        # A product rounded to single precision would not cancel within narrow windows.
        moments = above if weights is None else weights.double() * above
        moment = _window_sums(prefix_sums(moments), start, stop)
        doubled = (low + high).double().addcmul_((inside * above).sub_(moment), 2 * slope)
        return _restored(doubled.div_(2 * total), order, dissimilarities)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        order, start, stop, weights, inside, slope = ctx.saved_tensors
        arranged = grad.gather(1, order)
        neighbors = _window_sums(prefix_sums(arranged), start, stop)
        if weights is not None:
            neighbors *= weights
        grad_ordered = (inside * arranged - neighbors).mul_(slope)
        return _restored(grad_ordered, order, grad), None, None, None


def _middle_ranks(ordered, weights, undefined):
    """Exact ranks of sorted rows, ties sharing their middle; NaN in the rows marked as undefined.

    `undefined` is of shape (n_rows,).
    """
    start, stop = tie_bounds(ordered)
    if weights is None:
        ranks = (start + stop).to(ordered.dtype).div_(2 * ordered.shape[1])
    else:
        mass = prefix_sums(weights)
        ranks = (mass.gather(1, start) + mass.gather(1, stop)) / (2 * mass[:, -1:])
    # Only on the CPU this test needs no synchronization, and a traced graph cannot branch on it.
    if ordered.device.type == "cpu" and not torch.compiler.is_compiling() and not undefined.any():
        return ranks
    return ranks.masked_fill_(undefined[:, None], torch.nan)


def _restored(arranged, order, like):
    """Entries of sorted rows, where they were before."""
    return torch.empty_like(like).scatter_(1, order, arranged.to(like.dtype))


def _windows(above, sigma):
    """Bounds of the runs |d_j - d_k| <= sigma, for sorted rows that begin with 0.

    Each entry is inside the windows of those inside its own in spite of rounding, since one
    comparison gives both ends: entry k reaches back to j exactly when start[k] <= j, and when
    k < stop[j].
    """
    if above.device.type == "cpu":
        return _merged_bounds(above, sigma)
    # NaN has no place; the last one keeps the bounds valid, and the ranks are NaN in any case.
    start = torch.searchsorted(above, above - sigma).clamp_(max=above.shape[1] - 1)
    reaching = torch.zeros_like(start).scatter_add_(1, start, torch.ones_like(start))
    return start, reaching.cumsum(1)


def _merged_bounds(above, sigma):
    """The bounds by sorting values and bounds together, with a last bit that marks which is which.

    This is faster than a binary search. Since the values are not negative, their bit patterns fill
    half of the range of the integers; they are spread over all of it to make room for the last bit.
    """
    n = above.shape[1]
    both = torch.cat([above - sigma, above], dim=1).clamp_(min=0)
    keys = both.view(_INTEGERS[both.dtype])
    keys.sub_(torch.iinfo(keys.dtype).max // 2 + 1).bitwise_left_shift_(1)
    keys[:, n:] += 1
    keys.numpy().sort(axis=-1)
    is_entry = keys.bitwise_and_(1).numpy().astype(bool)
    return _places(~is_entry, n), _places(is_entry, n)


def _places(marked, n):
    """For each of n marks in every row, how many others come before it there."""
    places = torch.from_numpy(np.flatnonzero(marked)).view(-1, n)
    first = marked.shape[1] * _positions(len(places))
    return places.sub_(_positions(n)).sub_(first[:, None])


def prefix_sums(values):
    """Sums of the first 0, 1, ..., n entries of each row, in double precision."""
    n_rows, n = values.shape
    sums = torch.empty((n_rows, n + 1), dtype=torch.float64, device=values.device)
    sums[:, 0] = 0
    if _cumsum_is_refused(values.device):
        sums[:, 1:] = _deterministic_cumsum(values, dim=1)
    else:
        torch.cumsum(values, dim=1, dtype=torch.float64, out=sums[:, 1:])
    return sums


def cumulative_sums(values, *, dim, dtype):
    """Cumulative sums along a dimension, on any device, deterministic where PyTorch must be."""
    if dtype.is_floating_point and _cumsum_is_refused(values.device):
        return _deterministic_cumsum(values, dim)
    return values.cumsum(dim, dtype=dtype)


def _cumsum_is_refused(device):
    """Whether PyTorch raises for cumsum of floating-point numbers, as it does on CUDA."""
    return device.type != "cpu" and torch.are_deterministic_algorithms_enabled()


def _deterministic_cumsum(values, dim):
    """Parallel prefix sum (Hillis and Steele, 1986), in double precision."""
    sums = values.double().movedim(dim, -1)
    step = 1
    while step < sums.shape[-1]:
        sums = torch.cat([sums[..., :step], sums[..., step:] + sums[..., :-step]], dim=-1)
        step *= 2
    return sums.movedim(-1, dim)


def _window_sums(prefix, start, stop):
    return prefix.gather(1, stop).sub_(prefix.gather(1, start))
