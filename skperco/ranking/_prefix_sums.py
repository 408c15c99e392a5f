"""Prefix sums of the rows of a matrix, also in the deterministic mode of PyTorch."""

import torch


def prefix_sums(values: torch.Tensor) -> torch.Tensor:
    """Sums of the first 0, 1, ..., n entries of each row, in double precision."""
    n_rows, n = values.shape
    sums = torch.empty((n_rows, n + 1), dtype=torch.float64, device=values.device)
    sums[:, 0] = 0
    if _cumsum_is_refused(values.device):
        sums[:, 1:] = _deterministic_cumsum(values, dim=1)
    else:
        torch.cumsum(values, dim=1, dtype=torch.float64, out=sums[:, 1:])
    return sums


def cumulative_sums(values: torch.Tensor, *, dim: int, dtype: torch.dtype) -> torch.Tensor:
    """Cumulative sums along a dimension; deterministic if PyTorch's deterministic mode is on."""
    if dtype.is_floating_point and _cumsum_is_refused(values.device):
        return _deterministic_cumsum(values, dim)
    return values.cumsum(dim, dtype=dtype)


def _cumsum_is_refused(device: torch.device) -> bool:
    """Whether cumsum of floats may raise an error: in deterministic mode, for instance on CUDA."""
    return device.type != "cpu" and torch.are_deterministic_algorithms_enabled()


def _deterministic_cumsum(values: torch.Tensor, dim: int) -> torch.Tensor:
    """Parallel prefix sum (Hillis and Steele, 1986), in double precision."""
    sums = values.double().movedim(dim, -1)
    step = 1
    while step < sums.shape[-1]:
        sums = torch.cat([sums[..., :step], sums[..., step:] + sums[..., :-step]], dim=-1)
        step *= 2
    return sums.movedim(-1, dim)
