"""Protection of the global random generators of PyTorch."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

_LOCK = threading.RLock()
_EVALUATION_SEED = 0


@contextmanager
def own_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Seed PyTorch's global generators, from which modules draw, and restore them afterwards.

    Only those of the CPU and of `device` are seeded: torch.manual_seed would seed those of all
    devices, also of devices whose states are not restored. All threads share these generators, so
    a lock admits one thread at a time.
    """
    devices = [] if device.type == "cpu" else [device]
    with _LOCK, torch.random.fork_rng(devices=devices, device_type=device.type):
        torch.default_generator.manual_seed(seed)
        for other in devices:
            state = torch.Generator(device=other).manual_seed(seed).get_state()
            torch.get_device_module(other).set_rng_state(state, other)
        yield


def evaluation_randomness(device: torch.device) -> AbstractContextManager[None]:
    """As :func:`own_randomness` with a fixed seed, for modules in evaluation mode."""
    return own_randomness(_EVALUATION_SEED, device)
