"""Checks of tensors: their type, shape and device."""

import torch

_FLOATS = (torch.float32, torch.float64)


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
        _check_tensor(tensor, name)
        if tensor.ndim != 2 or tensor.layout != torch.strided:
            raise ValueError(
                f"{name} must be a dense matrix, rows x columns, got layout {tensor.layout} and "
                f"shape {tuple(tensor.shape)}."
            )
    _check_one_device(tensors)


def check_batches(tensors: dict[str, torch.Tensor]) -> None:
    """Raise a TypeError or ValueError unless rows of all tensors can be compared.

    Parameters
    ----------
    tensors : dict of str to torch.Tensor of shape (..., n_rows, n_features)
        By the names of the arguments. They may differ in the number of rows only.
    """
    for name, tensor in tensors.items():
        _check_tensor(tensor, name)
        if tensor.ndim < 2 or tensor.layout != torch.strided or not tensor.shape[-1]:
            raise ValueError(
                f"{name} must be a dense matrix, rows x columns, or a batch of them, got layout "
                f"{tensor.layout} and shape {tuple(tensor.shape)}."
            )
    _check_one_device(tensors)
    names = " and ".join(tensors)
    shapes = [tuple(tensor.shape) for tensor in tensors.values()]
    if len({(shape[:-2], shape[-1]) for shape in shapes}) > 1:
        raise ValueError(f"{names} may differ in their number of rows only, got shapes {shapes}.")
    dtypes = [tensor.dtype for tensor in tensors.values()]
    if len(set(dtypes)) > 1 or not dtypes[0].is_floating_point:
        raise TypeError(f"{names} must have one floating-point dtype, got {dtypes}.")


def _check_tensor(tensor: torch.Tensor, name: str) -> None:
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(
            f"{name} must be a torch.Tensor, got {type(tensor).__name__}: convert an array with "
            "torch.from_numpy, sparse rows after toarray."
        )


def _check_one_device(tensors: dict[str, torch.Tensor]) -> None:
    if len({tensor.device for tensor in tensors.values()}) > 1:
        devices = {name: str(tensor.device) for name, tensor in tensors.items()}
        raise ValueError(f"{' and '.join(tensors)} must be on one device, got {devices}.")


def check_dissimilarities(dissimilarities: torch.Tensor, weights: torch.Tensor | None) -> None:
    """Raise a TypeError or ValueError unless the ranks of a weighted matrix can be computed."""
    given = {"dissimilarities": dissimilarities}
    if weights is not None:
        given["weights"] = torch.atleast_2d(weights) if torch.is_tensor(weights) else weights
    check_matrices(given)
    check_double(dissimilarities.device, "dissimilarities")
    if dissimilarities.dtype not in _FLOATS:
        raise TypeError(
            f"dissimilarities must be float32 or float64, got {dissimilarities.dtype}: convert "
            "them with .float() or .double()."
        )
    if dissimilarities.shape[1] == 0:
        raise ValueError(
            "dissimilarities must have at least one column, got shape "
            f"{tuple(dissimilarities.shape)}."
        )
    if weights is not None:
        _check_weights(weights, *dissimilarities.shape)


def _check_weights(weights: torch.Tensor, n_rows: int, n: int) -> None:
    if weights.shape not in ((n,), (1, n), (n_rows, n)):
        raise ValueError(
            f"weights must have shape ({n},) or ({n_rows}, {n}), got {tuple(weights.shape)}."
        )
    # On other devices the values are not checked, since that needs a synchronization; a traced
    # graph cannot branch on them.
    if weights.device.type == "cpu" and not torch.compiler.is_compiling() and (weights < 0).any():
        raise ValueError(f"weights must not be negative, got {weights.min().item()}.")
