"""Type aliases that several packages share."""

from collections.abc import Callable
from typing import Any

import scipy.sparse as sp
import torch
from numpy.typing import ArrayLike, NDArray

# The name of a metric, or a function of two matrices: anchors and references.
Metric = str | Callable[[torch.Tensor, torch.Tensor], torch.Tensor | ArrayLike]
Rows = NDArray[Any] | sp.csr_array
