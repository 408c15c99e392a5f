"""A first call of the vector functions that torch takes from MKL, before several threads make one.

MKL looks up each function at its first call, and, if threads come at once, gives one of them a
version of low accuracy: https://github.com/pytorch/pytorch/issues/188792. A fit would then differ,
once in a while, from the same fit in another process.
"""

import torch

_FUNCTIONS = (torch.exp, torch.log, torch.sqrt, torch.tanh, torch.erf)


def warm_up():
    """Call each function once, with one thread."""
    for dtype in (torch.float32, torch.float64):
        for function in _FUNCTIONS:
            function(torch.ones(1, dtype=dtype))
