"""Checks of tensors: their type, shape and device."""

import torch


def has_double(device: torch.device) -> bool:
    """Whether a device supports float64 tensors; Apple's MPS does not."""
    if device.type == "cpu":
        return True
    try:
        torch.empty(0, dtype=torch.float64, device=device)
    except (NotImplementedError, RuntimeError, TypeError):
        return False
    return True


def check_double(device: torch.device, name: str) -> None:
    """Raise a ValueError unless the device of an argument supports float64 tensors."""
    if not has_double(device):
        raise ValueError(
            f"{name} is on a device without double precision, {str(device)!r}: move it to the CPU."
        )


def check_matrices(tensors: dict[str, torch.Tensor]) -> None:
    """Raise a TypeError or ValueError unless all are two-dimensional dense tensors on one device.

    Parameters
    ----------
    tensors : dict of str to torch.Tensor
        By the names of the arguments.
    """
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(
                f"{name} must be a torch.Tensor, got {type(tensor).__name__}: convert an array "
                "with torch.from_numpy, sparse rows after toarray."
            )
        if tensor.ndim != 2 or tensor.layout != torch.strided:
            raise ValueError(
                f"{name} must be a dense matrix, rows x columns, got layout {tensor.layout} and "
                f"shape {tuple(tensor.shape)}."
            )
    if len({tensor.device for tensor in tensors.values()}) > 1:
        devices = {name: str(tensor.device) for name, tensor in tensors.items()}
        raise ValueError(f"{' and '.join(tensors)} must be on one device, got {devices}.")
