"""Percentile ranks of rows of dissimilarities: exact, and soft with their gradient."""

import numpy as np
import torch
from torch.autograd.function import once_differentiable


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
        In [0, 1], floating point, in the dtype of `dissimilarities`.

    Examples
    --------
    >>> import torch
    >>> from skperco import percentile_rank
    >>> percentile_rank(torch.tensor([[0.3, 0.1, 0.3, 7.0]]))
    tensor([[0.5000, 0.1250, 0.5000, 0.8750]])
    """
    ordered, order = sort_rows(dissimilarities.detach())
    start, stop = tie_bounds(ordered)
    if weights is None:
        middle = (start + stop).to(ordered.dtype) / (2 * ordered.shape[1])
    else:
        mass = _prefix_sums(arrange(weights, order))
        middle = (mass.gather(1, start) + mass.gather(1, stop)) / (2 * mass[:, -1:])
    return torch.empty_like(dissimilarities).scatter_(1, order, middle.to(dissimilarities.dtype))


def soft_percentile_rank(dissimilarities, *, bandwidth=0.1, scale=None, weights=None):
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

    Returns
    -------
    ranks : torch.Tensor of shape (n_anchors, n_references)
        In [0, 1]; their (weighted) mean over each row is 1/2.

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
    if bandwidth < 0:
        raise ValueError(f"bandwidth must be at least 0, got {bandwidth!r}.")
    if scale is None:
        scale = row_spread(dissimilarities)
    sigma = torch.as_tensor(
        bandwidth * scale, dtype=dissimilarities.dtype, device=dissimilarities.device
    ).expand(len(dissimilarities), 1)
    return _SoftPercentileRank.apply(dissimilarities, sigma, weights)


def row_spread(dissimilarities):
    """Standard deviation of each row, of shape (n_anchors, 1), a constant to the gradient."""
    return dissimilarities.detach().std(dim=1, correction=0, keepdim=True)


def tie_bounds(ordered, *, rtol=0.0):
    """Where the run of ties around each entry of sorted rows starts, and where it stops.

    Parameters
    ----------
    ordered : torch.Tensor of shape (n_rows, n)
        Rows in ascending order, non-negative if `rtol` is positive.
    rtol : float, default=0.0
        Neighbouring values tie when they differ by at most this share of the row's largest.

    Returns
    -------
    start, stop : torch.Tensor of shape (n_rows, n), int64
        The run around entry j is ``ordered[start[j]:stop[j]]``.
    """
    n = ordered.shape[1]
    begins = torch.nn.functional.pad(run_starts(ordered, rtol=rtol), (1, 0), value=True)
    positions = torch.arange(n, device=ordered.device).expand_as(ordered)
    start = torch.where(begins, positions, 0).cummax(1).values
    ends = begins.roll(-1, 1)
    stop = torch.where(ends, positions + 1, n).flip(1).cummin(1).values.flip(1)
    return start, stop


def run_starts(ordered, *, rtol=0.0):
    """Whether each entry of sorted rows, but for the first, is above the one before it.

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


def sort_rows(values):
    """Sort the last axis: (ordered values, their order), equal values in any order."""
    if values.device.type != "cpu":
        return values.sort(dim=-1)
    if values.dtype == torch.float64:
        return _sort_doubles(values)
    order = _order(values)
    return values.gather(-1, order), order


def _order(values):
    # NumPy's vectorised sorts are several times as fast as torch's on the CPU.
    return torch.from_numpy(np.argsort(values.numpy(), axis=-1))


def _sort_doubles(values):
    """Sort numbers whose last bits say where they come from: faster than to find the order.

    Rows with values that differ in these last bits only are sorted again.
    """
    bits = values.shape[-1].bit_length()
    # The integers that doubles are made of are in their order, but for the negative ones. In
    # place, as memory that is asked for anew costs as much as what is done to it.
    integers = values.view(torch.int64)
    if values.min() < 0:
        mirror = (integers >> 63).bitwise_and_(torch.iinfo(torch.int64).max)
        integers = mirror.bitwise_xor_(integers)
    keys = (integers & -(2**bits)).bitwise_or_(torch.arange(values.shape[-1]))
    keys.numpy().sort(axis=-1)
    order = keys.bitwise_and_(2**bits - 1)
    ordered = values.gather(-1, order)
    wrong = torch.from_numpy((ordered.numpy()[..., 1:] < ordered.numpy()[..., :-1]).any(-1))
    if wrong.any():
        order[wrong] = _order(values[wrong])
        ordered[wrong] = values[wrong].gather(-1, order[wrong])
    return ordered, order


def sort_values(values):
    """Sort the last axis."""
    if values.device.type != "cpu":
        return values.sort(dim=-1).values
    return torch.from_numpy(np.sort(values.numpy(), axis=-1))


def arrange(weights, order):
    """Weights of the references in the order of each row; None stays None."""
    return None if weights is None else weights.expand(order.shape).gather(1, order)


class _SoftPercentileRank(torch.autograd.Function):
    @staticmethod
    def forward(ctx, dissimilarities, sigma, weights):
        ordered, order = sort_rows(dissimilarities)
        # Distances from the row's mean keep the prefix sums small.
        ordered = ordered - ordered.mean(1, keepdim=True)
        start, stop = _windows(ordered, sigma)
        if weights is None:
            weights = torch.ones((), device=ordered.device)
        # A product rounded to single precision would not cancel within narrow windows.
        weights = arrange(weights.double(), order)
        mass = _prefix_sums(weights)
        inside = _window_sums(mass, start, stop)
        moment = _window_sums(_prefix_sums(weights * ordered), start, stop)
        slope = torch.where(sigma > 0, 0.5 / sigma, 0).double()
        total = mass[:, -1:]
        below = mass.gather(1, start)
        ranks = (below + inside / 2 + slope * (inside * ordered - moment)) / total
        ctx.save_for_backward(order, start, stop, weights, inside, slope / total)
        return torch.empty_like(dissimilarities).scatter_(1, order, ranks.to(ordered.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        order, start, stop, weights, inside, slope = ctx.saved_tensors
        arranged = grad.gather(1, order)
        neighbours = _window_sums(_prefix_sums(arranged), start, stop)
        grad_ordered = slope * (inside * arranged - weights * neighbours)
        grad = torch.empty_like(grad).scatter_(1, order, grad_ordered.to(grad.dtype))
        return grad, None, None


def _windows(ordered, sigma):
    """Bounds of the runs |d_j - d_k| <= sigma, each entry inside the windows it holds inside."""
    # What is not a number has no place; the last one lets it through, for others to find.
    start = torch.searchsorted(ordered, ordered - sigma).clamp_(max=ordered.shape[1] - 1)
    # Entry k reaches back to j exactly when start[k] <= j: counting those gives the other end
    # without a second search, and windows that agree with each other in spite of rounding.
    reaching = torch.zeros_like(start).scatter_add_(1, start, torch.ones_like(start))
    return start, reaching.cumsum(1)


def _prefix_sums(values):
    """Sums of the first 0, 1, ..., n entries of each row, in double precision."""
    sums = torch.zeros(
        (values.shape[0], values.shape[1] + 1), dtype=torch.float64, device=values.device
    )
    torch.cumsum(values, dim=1, dtype=torch.float64, out=sums[:, 1:])
    return sums


def _window_sums(prefix, start, stop):
    return prefix.gather(1, stop) - prefix.gather(1, start)
