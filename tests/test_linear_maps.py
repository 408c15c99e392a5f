import numpy as np
from builders import rows_of
from scipy.linalg import svd
from scipy.sparse import csr_array

from skperco import linear_maps
from skperco.linear_maps import leading_directions, root_mean_square_norm


def test_directions_do_not_depend_on_chunks(monkeypatch):
    X = rows_of(0)
    monkeypatch.setattr(linear_maps, "_ROWS_PER_BLOCK", 7)
    start = leading_directions(
        X, 4, center=False, sample_weight=np.ones(60), random_state=np.random.RandomState(0)
    )
    vectors = svd(X, full_matrices=False)[2][:4]
    np.testing.assert_allclose(start.weight.T @ start.weight, vectors.T @ vectors, atol=1e-9)


def test_the_typical_norm_is_weighted_and_never_zero():
    X = rows_of(0)
    weights = np.arange(60.0)
    expected = np.sqrt(np.average(np.linalg.norm(X, axis=1) ** 2, weights=weights))
    np.testing.assert_allclose(root_mean_square_norm(X, weights), expected)
    np.testing.assert_allclose(root_mean_square_norm(csr_array(X), weights), expected)
    assert root_mean_square_norm(np.zeros_like(X), weights) == 1
