"""Configuration of the fit of a student."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from skperco.training._distributed import Processes
from skperco.training._settings import Settings


class Plan(NamedTuple):
    """Configuration of a fit, independent of its samples.

    Attributes
    ----------
    n_components : int
    student : {"linear", "mlp"} or torch.nn.Module
        A module is copied.
    hidden_layer_sizes : sequence of int
    settings : Settings
    dropout : float
        Feature dropout of a transfer.
    alphas : sequence of float
        Ridge strengths of a transfer to choose from.
    device : torch.device
    watch : callable
        Passes on the steps of a student, as :meth:`Progress.watch` does.
    processes : Processes
        Those that fit the student together.
    start : torch.nn.Module, default=None
        A student whose copy is the initialization, in place of the closed form.
    """

    n_components: int
    student: str | torch.nn.Module | Callable
    hidden_layer_sizes: Sequence[int]
    settings: Settings
    dropout: float
    alphas: Sequence[float]
    device: torch.device
    watch: Callable
    processes: Processes
    start: torch.nn.Module | None = None

    def with_alpha(self, alpha: float | None) -> "Plan":
        """The plan with one ridge strength, or the same plan if it is None."""
        return self if alpha is None else self._replace(alphas=(alpha,))
