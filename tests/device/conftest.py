"""Tests on a simulated accelerator, which need their own process: `make test-device`."""

import numpy as np
import pytest
import torch
from device import accelerator

from skperco.datasets import load_wordnet_glosses

HAS_COMPILER = accelerator.compiler() is not None
OPERATORS = accelerator.register() if HAS_COMPILER else None


def pytest_collection_modifyitems(items):
    if not HAS_COMPILER:
        skip = pytest.mark.skip(reason="there is no C++ compiler to build a device with")
        for item in items:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def device():
    return torch.device(accelerator.NAME)


@pytest.fixture
def operators():
    """Operators of the simulation, after a reset of their counters."""
    OPERATORS.reset_counts()
    return OPERATORS


@pytest.fixture
def without_double():
    """A device without double precision, such as Apple's MPS."""
    OPERATORS.forbid_double(True)
    yield
    OPERATORS.forbid_double(False)


@pytest.fixture(scope="session")
def teacher():
    return load_wordnet_glosses().data[:160, :96]


@pytest.fixture(scope="session")
def rows(teacher):
    return np.ascontiguousarray(teacher[:, :32])


@pytest.fixture(scope="session")
def weights():
    return np.random.default_rng(0).integers(1, 4, 160).astype(float)
