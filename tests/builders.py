"""What several tests build on."""

import numpy as np
import pytest

from skperco import CoherenceDistiller
from skperco.dissimilarity._dense import METRICS

# The metrics of embeddings; a precomputed table is none of them.
METRIC_NAMES = sorted(METRICS.keys() - {"precomputed"})

with_routing = pytest.mark.usefixtures("routing")


def small(n_components=4, **parameters):
    """A distiller whose fit takes a moment."""
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
    """Sparse rows with a mean, whose directions differ in size."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, d)) * np.linspace(2, 0.5, d) + offset
    return np.where(rng.random((n, d)) < 0.7, rows, 0)
