"""Standard deviations of the rows of a matrix."""

import torch


def row_spread(dissimilarities: torch.Tensor) -> torch.Tensor:
    """Standard deviation of each row, of shape (n_anchors, 1), without a gradient.

    Rows whose squares would overflow or underflow are scaled first.
    """
    rows = dissimilarities.detach()
    if rows.device.type != "cpu":
        return _scaled_spread(rows)
    spread = _plain_spread(rows)
    # Within these bounds the squares lose no digits. Constant rows are outside, since their spread
    # is 0, but they are rare.
    limits = torch.finfo(rows.dtype)
    least, most = (limits.tiny / limits.eps) ** 0.5, limits.max**0.5 / rows.shape[1]
    if not len(rows) or least < spread.min().item() <= spread.max().item() < most:
        return spread
    inexact = ~((spread > least) & (spread < most)).squeeze(1)
    spread[inexact] = _scaled_spread(rows[inexact])
    return spread


def _plain_spread(rows: torch.Tensor) -> torch.Tensor:
    centered = rows - rows.mean(1, keepdim=True)
    return torch.linalg.vector_norm(centered, dim=1, keepdim=True).div_(rows.shape[1] ** 0.5)


def _scaled_spread(rows: torch.Tensor) -> torch.Tensor:
    scale = power_of_two(rows.abs().amax(1, keepdim=True))
    return _plain_spread(rows / scale) * scale


def power_of_two(values: torch.Tensor) -> torch.Tensor:
    """Powers of two near non-negative values, so that dividing by them is exact; 1 for zeros."""
    return torch.where(values == 0, 1, values / (2 * torch.frexp(values).mantissa))
