"""Protection of results from global settings of PyTorch and NumPy."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import numpy as np
import torch

_CPU = torch.device("cpu")
_P = ParamSpec("_P")
_T = TypeVar("_T")


@contextmanager
def default_settings() -> Iterator[None]:
    """Compute under the default settings of this thread, which are restored afterwards.

    Gradients are on, even inside ``torch.no_grad()`` and ``torch.inference_mode()``; autocast
    is off; tensors are created on the CPU unless a device is named; NumPy warns about
    floating-point errors and does not raise them. All of these settings are local to the thread.
    The default dtype is not, and a change would affect other threads: tensors are created with an
    explicit dtype instead.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        for device_type in _device_types():
            if torch.is_autocast_enabled(device_type):
                stack.enter_context(torch.autocast(device_type, enabled=False))
        if torch.get_default_device() != _CPU:
            stack.enter_context(_CPU)
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        yield


def without_autocast(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Decorate a function of tensors so that autocast is off inside.

    Backward passes need this as well, since they may also be called under autocast.
    """

    @wraps(function)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        device_type = next(one.device.type for one in args if isinstance(one, torch.Tensor))
        if not torch.is_autocast_enabled(device_type):
            return function(*args, **kwargs)
        with torch.autocast(device_type, enabled=False):
            return function(*args, **kwargs)

    return wrapped


def _device_types() -> list[str]:
    accelerator = torch.accelerator.current_accelerator()
    return ["cpu"] if accelerator is None else ["cpu", accelerator.type]
