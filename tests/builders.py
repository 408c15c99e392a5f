"""What several tests build on."""

import pytest

from skperco import CoherenceDistiller

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
