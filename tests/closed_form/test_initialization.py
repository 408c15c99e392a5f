import numpy as np
import pytest
import references
import scipy.sparse as sp
from builders import rows_of
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import svd
from sklearn.decomposition import PCA

from skperco.closed_form import _initialization, _landmark_mds
from skperco.closed_form._initialization import ALPHAS, ReducedRankRidge, compression_start
from skperco.closed_form._landmark_mds import classical_scaling

LAYOUTS = pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
METRICS = pytest.mark.parametrize("metric", ["cosine", "euclidean"])
SEEDS = st.integers(0, 1000)


def counts_of(seed, n=60):
    """So many times each row, on average once."""
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


def gram(images):
    """What does not change when the images turn or are mirrored."""
    return images @ images.T


@LAYOUTS
def test_compression_under_cosine_takes_the_singular_vectors_of_unit_rows(layout, columns):
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
def test_compression_to_all_dimensions_loses_nothing(metric, columns):
    X = rows_of(0)
    images = compression_start(X, 12, **options(metric))(X)
    expected = X if metric == "cosine" else X - X.mean(0)
    np.testing.assert_allclose(gram(images), gram(expected), atol=1e-9)


@METRICS
def test_compression_counts_a_row_as_often_as_its_weight(metric, columns):
    X, counts = rows_of(0), counts_of(0)
    weighted = compression_start(X, 4, **options(metric, sample_weight=counts.astype(float)))
    repeated = compression_start(np.repeat(X, counts, axis=0), 4, **options(metric))
    np.testing.assert_allclose(projector(weighted), projector(repeated), atol=1e-6)
    np.testing.assert_allclose(gram(weighted(X)), gram(repeated(X)), atol=1e-5)


@METRICS
def test_zero_rows_do_not_spoil_a_start(metric, columns):
    X = rows_of(0)
    X[:7] = 0
    assert np.isfinite(compression_start(X, 4, **options(metric))(X)).all()


@METRICS
def test_rows_too_short_for_single_precision_do_not_spoil_a_start(metric, columns):
    X = rows_of(0).astype(np.float32)
    X[:7] *= np.float32(1e-40)
    assert np.isfinite(compression_start(X, 4, **options(metric))(X)).all()


@LAYOUTS
@METRICS
def test_transfer_takes_the_leading_directions_of_ridge_regression(layout, metric, columns):
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
def test_transfer_counts_a_row_as_often_as_its_weight(metric, columns):
    X, targets, counts = rows_of(0), rows_of(1, d=7), counts_of(0)
    repeated = transfer(
        np.repeat(X, counts, axis=0), np.repeat(targets, counts, axis=0), 3, **options(metric)
    )
    # Weights say how rows compare, and not how many they stand for, as the strength asks.
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


@given(SEEDS, st.integers(1, 5), st.integers(5, 9))
def test_scaling_reproduces_a_euclidean_table(seed, n_true, n_dimensions):
    table = references.table(rows_of(seed, n=20, d=n_true), "euclidean")
    found = classical_scaling(
        lambda rows, columns: table[np.ix_(rows, columns)],
        np.random.default_rng(seed).permutation(20),
        len(table),
        n_dimensions,
    )[:]
    assert found.shape[1] == n_dimensions
    assert not found[:, n_true:].any()
    np.testing.assert_allclose(references.table(found, "euclidean"), table, atol=1e-5)


def test_scaling_places_rows_by_landmarks():
    table = references.table(rows_of(0, d=4), "euclidean")
    found = classical_scaling(
        lambda rows, columns: table[np.ix_(rows, columns)], np.arange(0, 60, 6), 60, 6
    )[:]
    np.testing.assert_allclose(references.table(found, "euclidean"), table, atol=1e-5)


def test_scaling_of_a_constant_table_is_one_point():
    found = classical_scaling(
        lambda rows, columns: np.zeros((len(rows), len(columns))), np.arange(8), 8, 3
    )[:]
    assert (found == 0).all()
    assert len(found) == 8


@given(SEEDS, st.sampled_from(["cosine", "correlation", "euclidean", "sqeuclidean"]))
def test_coordinates_keep_the_order_of_the_teacher(seed, metric):
    rows = rows_of(seed, n=15) + 0.01
    found = _landmark_mds.teacher_coordinates(
        rows, metric, np.ones(15), np.random.RandomState(0), "cpu"
    )[:]
    wanted = references.table(rows, metric)
    if metric != "euclidean":
        wanted = np.sqrt(wanted if metric == "sqeuclidean" else 2 * wanted)
    np.testing.assert_allclose(references.table(found, "euclidean"), wanted, atol=1e-6)


@pytest.mark.parametrize("given_as", ["table", "callable"])
def test_coordinates_of_any_teacher_come_from_what_it_sees(given_as):
    rows = rows_of(0, d=4)
    table = references.table(rows, "euclidean")
    teacher = (table, "precomputed") if given_as == "table" else (rows, _norms_of_differences)
    found = _landmark_mds.teacher_coordinates(
        *teacher, np.ones(60), np.random.RandomState(0), "cpu"
    )[:]
    np.testing.assert_allclose(references.table(found, "euclidean"), table, atol=1e-5)


def _norms_of_differences(anchors, references):
    return (anchors[:, None] - references).norm(dim=2)
