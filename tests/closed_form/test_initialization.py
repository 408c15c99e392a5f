import numpy as np
import pytest
import references
import scipy.sparse as sp
from builders import rows_of
from scipy.linalg import svd
from sklearn.decomposition import PCA

from skperco.closed_form import _initialization
from skperco.closed_form._initialization import ALPHAS, ReducedRankRidge, compression_start

LAYOUTS = pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
METRICS = pytest.mark.parametrize("metric", ["cosine", "euclidean"])


def counts_of(seed, n=60):
    """How often each row is repeated: 0, 1 or 2 times."""
    return np.random.default_rng(seed).permutation(np.repeat([0, 1, 2], n // 3))


def options(metric="cosine", n=60, sample_weight=None):
    return {
        "metric": metric,
        "sample_weight": np.ones(n) if sample_weight is None else sample_weight,
        "random_state": np.random.RandomState(0),
    }


def transfer(X, targets, n_components, *, sample_weight, **parameters):
    ridge = ReducedRankRidge(n_components, **parameters).fit(X, targets, sample_weight)
    return ridge.compose(ridge.directions_)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def projector(start):
    return start.weight.T @ start.weight


def gram(embeddings):
    """Inner products, which rotations and reflections leave unchanged."""
    return embeddings @ embeddings.T


@LAYOUTS
def test_compression_under_cosine_is_the_truncated_svd_of_unit_rows(layout, columns):
    X = rows_of(0)
    start = compression_start(layout(X), 4, **options())
    vectors = svd(unit(X), full_matrices=False)[2][:4]
    np.testing.assert_allclose(projector(start), vectors.T @ vectors, atol=1e-6)
    assert (start.bias == 0).all()


@LAYOUTS
def test_compression_under_euclidean_is_pca(layout, columns):
    X = rows_of(0)
    start = compression_start(layout(X), 4, **options("euclidean"))
    pca = PCA(4).fit(X)
    signs = np.sign((start.weight * pca.components_).sum(1))
    np.testing.assert_allclose(start.weight, signs[:, None] * pca.components_, atol=1e-6)
    np.testing.assert_allclose(start(layout(X)), signs * pca.transform(X), atol=1e-5)


@METRICS
def test_compression_to_all_dimensions_is_a_rotation(metric, columns):
    X = rows_of(0)
    embeddings = compression_start(X, 12, **options(metric))(X)
    expected = X if metric == "cosine" else X - X.mean(0)
    np.testing.assert_allclose(gram(embeddings), gram(expected), atol=1e-9)


@METRICS
def test_compression_with_weights_is_that_of_repeated_rows(metric, columns):
    X, counts = rows_of(0), counts_of(0)
    weighted = compression_start(X, 4, **options(metric, sample_weight=counts.astype(float)))
    repeated = compression_start(np.repeat(X, counts, axis=0), 4, **options(metric))
    np.testing.assert_allclose(projector(weighted), projector(repeated), atol=1e-6)
    np.testing.assert_allclose(gram(weighted(X)), gram(repeated(X)), atol=1e-5)


@METRICS
def test_compression_of_zero_rows_is_finite(metric, columns):
    X = rows_of(0)
    X[:7] = 0
    assert np.isfinite(compression_start(X, 4, **options(metric))(X)).all()


@METRICS
def test_compression_of_rows_with_subnormal_norms_is_finite(metric, columns):
    X = rows_of(0).astype(np.float32)
    X[:7] *= np.float32(1e-40)
    assert np.isfinite(compression_start(X, 4, **options(metric))(X)).all()


@LAYOUTS
@METRICS
def test_transfer_is_the_truncated_svd_of_ridge_predictions(layout, metric, columns):
    X, targets = rows_of(0), rows_of(1, d=7)
    start = transfer(layout(X), targets, 3, **options(metric))
    intercept = (
        _initialization._INTERCEPT if metric == "cosine" else _initialization._FREE_INTERCEPT
    )
    predictions = references.ridge_predictions(
        X, targets, _initialization._ALPHA, intercept, np.ones(60)
    )
    if metric == "cosine":
        vectors = svd(predictions, full_matrices=False)[2][:3]
        expected = predictions @ vectors.T
    else:
        expected = PCA(3).fit_transform(predictions)
    np.testing.assert_allclose(gram(start(layout(X))), gram(expected), atol=1e-4)


@METRICS
def test_transfer_with_weights_is_that_of_repeated_rows(metric, columns):
    X, targets, counts = rows_of(0), rows_of(1, d=7), counts_of(0)
    repeated = transfer(
        np.repeat(X, counts, axis=0), np.repeat(targets, counts, axis=0), 3, **options(metric)
    )
    # The ridge strength is relative to the number of rows, and weights are relative to each other.
    alpha = _initialization._ALPHA * np.count_nonzero(counts) / counts.sum()
    given = options(metric, sample_weight=counts.astype(float))
    weighted = transfer(X, targets, 3, alphas=[alpha], **given)
    np.testing.assert_allclose(gram(weighted(X)), gram(repeated(X)), atol=1e-4)


@pytest.mark.parametrize("alpha", [ALPHAS[0], 0.2, ALPHAS[-1]])
def test_the_ridge_strength_maximizes_the_criterion(alpha, columns):
    X, targets = rows_of(0), rows_of(1, d=7)
    expected = transfer(X, targets, 7, alphas=[alpha], **options())(X)

    def criterion(start):
        return -abs(np.linalg.norm(start(X)) - np.linalg.norm(expected))

    found = transfer(X, targets, 7, criterion=criterion, **options())(X)
    np.testing.assert_allclose(gram(found), gram(expected), atol=1e-6)


@pytest.mark.parametrize(("alphas", "chosen"), [(ALPHAS, 0.4), ([10.0, 0.01, 0.1], 0.1)])
def test_without_a_criterion_the_strength_is_the_one_nearest_to_the_default(alphas, chosen):
    ridge = ReducedRankRidge(
        3, metric="cosine", alphas=alphas, random_state=np.random.RandomState(0)
    )
    assert ridge.fit(rows_of(0), rows_of(1, d=7), np.ones(60)).alpha_ == chosen
