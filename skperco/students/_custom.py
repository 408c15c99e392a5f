"""Students that are user-defined PyTorch modules: creation, checks and initialization."""

import copy
from collections.abc import Callable

import torch

from skperco.dissimilarity._dense import unit_rows
from skperco.utils._chunking import as_tensor, input_dtype
from skperco.utils._randomness import evaluation_randomness, own_randomness
from skperco.utils._types import Rows

# A module has no closed form. It is initialized by a regression with Adam, which takes four steps
# for each step of the training, with batches of up to 256 rows and a tenth of the learning rate.
_STEPS_PER_STEP = 4
_MAX_BATCH_SIZE = 256
_LEARNING_RATE_SHARE = 0.1
_CHECKED_ROWS = 32
_ADVICE = (
    "use a module that is not scripted, and torch.nn.utils.parametrizations.weight_norm in place "
    "of torch.nn.utils.weight_norm."
)


def new_module(
    student: torch.nn.Module | Callable[[int, int], torch.nn.Module],
    n_features: int,
    n_components: int,
    seed: int,
    device: torch.device,
) -> torch.nn.Module:
    """Create a user-defined module, which shares no memory with the given one.

    Parameters
    ----------
    student : torch.nn.Module or callable
        To copy, or to call with (n_features, n_components).
    n_features, n_components : int
    seed : int
    device : torch.device
        A callable may draw from the generators of this device and of the CPU.

    Returns
    -------
    module : torch.nn.Module
        On the CPU, in single precision.
    """
    with own_randomness(seed, device):
        if isinstance(student, torch.nn.Module):
            module = _copied(student)
        else:
            module = student(n_features, n_components)
    if not isinstance(module, torch.nn.Module):
        raise TypeError(
            "student must return a torch.nn.Module when it is called with (n_features, "
            f"n_components), got {module!r}."
        )
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise ValueError(
            f"student must have trainable parameters, and {type(module).__name__} has none that "
            "requires a gradient."
        )
    if any(parameter.is_meta for parameter in module.parameters()):
        raise ValueError(
            f"student must hold its parameters in memory, and {type(module).__name__} has some on "
            "the 'meta' device: call to_empty and initialize them first."
        )
    return contiguous(module.float().cpu())


def _copied(module: torch.nn.Module) -> torch.nn.Module:
    """A deep copy, whose parameters are leaf tensors, as an optimizer needs them."""
    name = f"student ({type(module).__name__})"
    try:
        copied = copy.deepcopy(module)
    except Exception as error:
        raise ValueError(f"{name} cannot be copied ({error}): {_ADVICE}") from error
    if not all(parameter.is_leaf for parameter in copied.parameters()):
        raise ValueError(
            f"{name} cannot be optimized, since a copy of it has parameters that are not leaf "
            f"tensors: {_ADVICE}"
        )
    return copied


def contiguous(module: torch.nn.Module) -> torch.nn.Module:
    """Store every parameter and buffer contiguously, as a file does.

    The rounding of a matrix product depends on the strides of its factors, so a student must have
    the same strides before it is saved and after it is loaded.
    """
    for tensor in [*module.parameters(), *module.buffers()]:
        tensor.data = tensor.data.contiguous()
    return module


def check_module(
    module: torch.nn.Module, X: Rows, n_components: int | None, device: torch.device
) -> int:
    """Check the output of a module for some rows.

    Parameters
    ----------
    module : torch.nn.Module
    X : ndarray or CSR of shape (n_samples, ...)
    n_components : int or None
        Expected number of columns of the output, if any.
    device : torch.device

    Returns
    -------
    n_components : int
        Number of columns of the output.

    Raises
    ------
    ValueError
        If the module fails or cannot be copied, or its output is not a finite matrix with
        `n_components` columns and a gradient.
    """
    name = f"student ({type(module).__name__})"
    rows = as_tensor(X[:_CHECKED_ROWS], device=device, dtype=input_dtype(X))
    batch = f"a batch of shape {tuple(rows.shape)} and type {rows.dtype} on {device}"
    copied = _copied(module)
    try:
        with evaluation_randomness(device):
            embeddings = copied.to(device).eval()(rows)
    except Exception as error:
        raise ValueError(
            f"{name} failed on {batch}, and is expected to return a tensor of shape "
            f"({len(rows)}, n_components) for it: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(embeddings, torch.Tensor) or embeddings.shape[:-1] != rows.shape[:1]:
        found = (
            tuple(embeddings.shape)
            if isinstance(embeddings, torch.Tensor)
            else type(embeddings).__name__
        )
        raise ValueError(
            f"{name} must return a tensor of shape ({len(rows)}, n_components) for {batch}, got "
            f"{found}."
        )
    if n_components is not None and embeddings.shape[1] != n_components:
        raise ValueError(
            f"{name} must return n_components={n_components} dimensions, got {embeddings.shape[1]}."
        )
    if not embeddings.requires_grad:
        raise ValueError(
            f"{name} must return a tensor that depends on its parameters through differentiable "
            "operations, got one without a gradient: it was detached, or computed under "
            "torch.no_grad."
        )
    check_finite(embeddings, name)
    return embeddings.shape[1]


def check_finite(values: torch.Tensor, name: str = "student") -> None:
    """Raise a ValueError if embeddings or losses of a student are not finite."""
    if not values.isfinite().all():
        raise ValueError(
            f"{name} must return finite numbers, got nan or infinity: scale X, or reduce "
            "learning_rate_init."
        )


def regress(
    module: torch.nn.Module,
    take: Callable[[torch.Tensor], torch.Tensor],
    take_targets: Callable[[torch.Tensor], torch.Tensor],
    sample_weight: torch.Tensor,
    *,
    angular: bool,
    batch_size: int,
    learning_rate_init: float,
    max_iter: int,
    generator: torch.Generator,
) -> torch.Tensor:
    """Initialize a module by regression onto given embeddings of the rows.

    Parameters
    ----------
    module : torch.nn.Module
        Changed in place.
    take : callable
        From indices of rows, an int64 tensor, to the module's input.
    take_targets : callable
        From indices of rows, on the CPU, to their target embeddings.
    sample_weight : torch.Tensor of shape (n_rows,)
        Rows are drawn in proportion to it.
    angular : bool
        Whether only the directions of embeddings matter.
    batch_size, learning_rate_init, max_iter : int, float, int
        Those of the training that follows.
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    loss : torch.Tensor of shape ()
        The loss of the last step.
    """
    normalize = unit_rows if angular else torch.nn.Identity()
    n_steps = _STEPS_PER_STEP * max_iter
    parameters = [one for one in module.parameters() if one.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=_LEARNING_RATE_SHARE * learning_rate_init)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, n_steps))
    module.train()
    n_rows = min(batch_size, _MAX_BATCH_SIZE)
    loss = torch.zeros(())
    for _ in range(n_steps):
        rows = torch.multinomial(sample_weight, n_rows, replacement=True, generator=generator)
        targets = normalize(take_targets(rows))
        optimizer.zero_grad()
        embeddings = normalize(module(take(rows.to(targets.device))))
        loss = (embeddings - targets).square().sum(1).mean()
        loss.backward()
        optimizer.step()
        schedule.step()
    optimizer.zero_grad()
    return loss.detach()
