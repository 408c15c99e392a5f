"""Selection and checks of devices."""

from typing import Any

import torch

from skperco.utils._tensors import has_double


def check_device(device: str | torch.device) -> torch.device:
    """Return the torch device that `device` names; "auto" is an accelerator if one can be used.

    Raises
    ------
    ValueError
        If there is no such device on this machine, or it has no double precision.
    """
    if device == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return torch.device("cpu") if found is None or not has_double(found) else found
    try:
        device = torch.device(device)
        torch.zeros(1, device=device).item()
    except (AssertionError, NotImplementedError, RuntimeError, TypeError) as error:
        raise ValueError(
            f"device must be 'auto' or a device of this machine such as 'cpu', got {device!r}: "
            f"{str(error).splitlines()[0]}"
        ) from error
    if not has_double(device):
        raise ValueError(
            f"device must have double precision, which {str(device)!r} lacks: use device='cpu'."
        )
    return device


def device_of(X: Any, device: str | torch.device) -> torch.device:
    """Check a device as :func:`check_device` does; "auto" is the device of X if X is a tensor."""
    if device == "auto" and isinstance(X, torch.Tensor):
        return X.device if has_double(X.device) else torch.device("cpu")
    return check_device(device)


def device_here(device: str | torch.device) -> str | torch.device:
    """Return `device`, or "auto" if this machine has no such device."""
    try:
        check_device(device)
    except ValueError:
        return "auto"
    return device
