"""Estimators and data that several tests use."""

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skperco import CoherenceDistiller
from skperco.dissimilarity._dense import METRICS

# Metrics of embeddings: all but "precomputed".
METRIC_NAMES = sorted(METRICS.keys() - {"precomputed"})

# Matrices of dissimilarities with ties.
TIED = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 3), st.integers(2, 30)),
    elements=st.integers(0, 12).map(lambda value: value / 4),
)

with_routing = pytest.mark.usefixtures("routing")


def small(n_components=4, **parameters):
    """An estimator that is fitted quickly."""
    quick = {
        "batch_size": 32,
        "n_references": 64,
        "hidden_layer_sizes": (16,),
        "max_iter": 8,
        "random_state": 0,
        "device": "cpu",
    }
    return CoherenceDistiller(n_components, **(quick | parameters))


def rows_of(seed, n=60, d=12, offset=0.3):
    """Rows with zeros, a nonzero mean and features of different variances."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, d)) * np.linspace(2, 0.5, d) + offset
    return np.where(rng.random((n, d)) < 0.7, rows, 0)


def random_matrix(n_rows, n, dtype=torch.float64, seed=0):
    """A tensor with entries between 0 and 1."""
    return torch.rand(n_rows, n, generator=torch.Generator().manual_seed(seed), dtype=dtype)
