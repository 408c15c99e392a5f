import numpy as np
import pytest
import references
import scipy.sparse as sp
from builders import rows_of

from skperco.closed_form import _ridge
from skperco.closed_form._ridge import Ridge

LAYOUTS = pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])


@LAYOUTS
@pytest.mark.parametrize("weighted", [False, True])
def test_regressions_agree_with_scikit_learn(layout, weighted, columns):
    X, targets = rows_of(0), rows_of(1, d=5)
    weights = np.random.default_rng(0).uniform(0.2, 3, 60) if weighted else np.ones(60)
    found = Ridge(layout(X), intercept=0.5, sample_weight=weights).path(targets, [2.0, 0.1, 0.001])
    for alpha, regression in zip([2.0, 0.1, 0.001], found, strict=True):
        expected = references.ridge_predictions(X, targets, alpha, 0.5, weights)
        np.testing.assert_allclose(regression(layout(X)), expected, atol=1e-6)


def test_predictions_agree_with_scikit_learn(columns, monkeypatch):
    monkeypatch.setattr(_ridge, "_OUTPUTS", 2)
    X, targets = rows_of(0), rows_of(1, d=5)
    found = Ridge(X, intercept=0.5, sample_weight=np.ones(60))
    expected = references.ridge_predictions(X, targets, 0.1, 0.5, np.ones(60))
    np.testing.assert_allclose(found.predict(X, targets, 0.1)[:], expected, atol=1e-6)
