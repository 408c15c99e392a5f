"""Initialization of MKL's vector functions in PyTorch, on one thread.

MKL selects the code of each function at its first call. If several threads call it first at
the same time, one of them may get a version of low accuracy:
https://github.com/pytorch/pytorch/issues/188792. Results of a fit would then occasionally differ
between processes.
"""

import torch

_FUNCTIONS = (torch.exp, torch.log, torch.sqrt, torch.tanh, torch.erf)


def warm_up() -> None:
    """Call each function once, on one thread."""
    for dtype in (torch.float32, torch.float64):
        for function in _FUNCTIONS:
            function(torch.ones(1, dtype=dtype))
