"""Many rows pass through fit, transform and score without a table of all of them."""

import resource

import numpy as np
import pytest

from skperco import CoherenceDistiller, neighbor_recall_score, perception_coherence_score

ROWS = 1_000_000


@pytest.mark.slow
def test_a_million_rows():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((ROWS, 32), dtype=np.float32) * np.linspace(2, 0.1, 32, dtype="f")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    distiller = CoherenceDistiller(8, random_state=0, device="cpu").fit(X)
    small = distiller.transform(X)
    assert perception_coherence_score(X, small) > 0.8
    assert neighbor_recall_score(X, small, n_anchors=20) > 0
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    # One table of all rows against all would take 30,000 times the rows themselves.
    assert grown < 20 * X.nbytes
