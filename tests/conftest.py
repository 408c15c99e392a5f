import os

import numpy as np
import pytest
import torch
from hypothesis import settings
from sklearn import config_context

from skperco.closed_form import _ridge, _truncated_svd
from skperco.datasets import load_wordnet_glosses

# The same examples in every run, so that a new failure is due to a change of the code; `explore`
# draws new ones.
settings.register_profile("skperco", deadline=None, print_blob=True, derandomize=True)
settings.register_profile("explore", deadline=None, print_blob=True, max_examples=1000)
settings.load_profile("skperco")


def pytest_configure():
    # The arrays are too small for several threads to help.
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


def pytest_terminal_summary(terminalreporter):
    """Report how many of scikit-learn's own estimator checks have passed."""
    n_passed = sum(
        "test_scikit_learn_checks" in report.nodeid and report.when == "call"
        for report in terminalreporter.stats.get("passed", [])
    )
    if n_passed:
        terminalreporter.write_line(f"scikit-learn's estimator checks passed: {n_passed}")


@pytest.fixture(scope="session")
def glosses():
    return load_wordnet_glosses()


@pytest.fixture(scope="session")
def rows(glosses):
    """A third of the teacher's features, so that the teacher has more information."""
    return glosses.data[:240, :128]


@pytest.fixture(scope="session")
def teacher(glosses):
    return glosses.data[:240]


@pytest.fixture(scope="session")
def weights(glosses):
    """Length of each gloss."""
    return np.array([len(text) for text in glosses.text[:240]], dtype=float)


@pytest.fixture
def routing():
    with config_context(enable_metadata_routing=True):
        yield


@pytest.fixture(params=["few columns", "many columns"])
def columns(request, monkeypatch):
    """Compute closed forms from a Gram matrix, and by iterative methods."""
    if request.param == "many columns":
        for module in (_truncated_svd, _ridge):
            monkeypatch.setattr(module, "GRAM_COLUMNS", 0)
    monkeypatch.setattr(_ridge, "_CG_TOLERANCE", 1e-10)
    monkeypatch.setattr(_ridge, "_CG_STEPS", 1000)
