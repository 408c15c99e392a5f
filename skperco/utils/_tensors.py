"""Checks of tensors: their type, shape and device."""

import torch


def has_double(device):
    """Whether there are float64 tensors on a device; on Apple's MPS there are none."""
    if device.type == "cpu":
        return True
    try:
        torch.empty(0, dtype=torch.float64, device=device)
    except (NotImplementedError, RuntimeError, TypeError):
        return False
    return True


def check_double(device, name):
    """Raise a ValueError unless there are float64 tensors on the device of an argument."""
    if not has_double(device):
        raise ValueError(
            f"{name} is on a device without double precision, {str(device)!r}: move it to the CPU."
        )


def check_matrices(tensors):
    """Raise unless all of these are two-dimensional tensors on one device.

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
    devices = {name: str(tensor.device) for name, tensor in tensors.items()}
    if len(set(devices.values())) > 1:
        raise ValueError(f"{' and '.join(tensors)} must be on one device, got {devices}.")
