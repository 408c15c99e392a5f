"""The optimizer of the training: normalized gradient descent with momentum."""

from collections.abc import Sequence

import torch

_EPS = 1e-30


class NormalizedSGD:
    """Normalized gradient descent with momentum (Cutkosky and Mehta, 2020).

    Each gradient is divided by its norm, and each step is relative to the scale of its
    parameter. The norm is that of the whole parameter, whereas Adam scales each entry: the weights
    of rare features, such as rare words, change less than those of frequent ones, which prevents
    overfitting to the few rows that have them.

    It has the methods of a :class:`torch.optim.Optimizer`, but does not inherit from it: the
    constructor of that class imports PyTorch's compiler, which takes about a second in every new
    process.

    Parameters
    ----------
    parameters : sequence of (torch.Tensor, float)
        Each parameter and its scale.
    lr : float
        Learning rate: length of a step relative to the scale of the parameter.
    momentum : float
    """

    def __init__(
        self, parameters: Sequence[tuple[torch.Tensor, float]], lr: float, momentum: float = 0.9
    ):
        self.parameters = [parameter for parameter, _ in parameters]
        self.scales = [scale for _, scale in parameters]
        self.lr = lr
        self.momentum = momentum
        self.momentum_buffers = [torch.zeros_like(one) for one in self.values]

    @property
    def values(self) -> list[torch.Tensor]:
        """The values of the parameters, which share their memory."""
        return [parameter.detach() for parameter in self.parameters]

    @torch.no_grad()
    def step(self, gradients: Sequence[torch.Tensor], decay: float = 1.0) -> None:
        """Take one step, with the learning rate multiplied by `decay`."""
        lr = self.lr * decay
        for value, scale, buffer, gradient in zip(
            self.values, self.scales, self.momentum_buffers, gradients, strict=True
        ):
            # Scale the step, not the gradient: for wide rows a copy of the gradient is large.
            factor = (1 - self.momentum) / gradient.norm().clamp(min=_EPS)
            buffer.mul_(self.momentum).addcmul_(gradient, factor)
            value.sub_(buffer, alpha=lr * scale)

    def state_dict(self) -> dict[str, list[torch.Tensor]]:
        """Copies of the parameters and of their momentum."""
        state = {"parameters": self.values, "momentum_buffers": self.momentum_buffers}
        return {name: [one.clone() for one in tensors] for name, tensors in state.items()}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, list[torch.Tensor]]) -> None:
        """Load the state of an optimizer whose parameters have the same shapes."""
        for name, tensors in state.items():
            for own, other in zip(getattr(self, name), tensors, strict=True):
                own.copy_(other)
