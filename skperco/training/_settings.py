"""Parameters of the training of a student."""

from typing import NamedTuple

from skperco.utils._types import Metric


class Settings(NamedTuple):
    """Parameters of the training."""

    metric: Metric
    rank_power: float
    batch_size: int
    n_references: int
    n_neighbors: int
    learning_rate_init: float
    max_iter: int
    global_weight: float = 1.8
