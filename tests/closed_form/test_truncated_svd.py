import numpy as np
import pytest
from builders import rows_of
from scipy.linalg import svd
from scipy.sparse import csr_array

from skperco.closed_form import _truncated_svd
from skperco.closed_form._truncated_svd import root_mean_square_norm, top_singular_vectors


def test_projection_does_not_depend_on_the_size_of_blocks(monkeypatch):
    X = rows_of(0)
    monkeypatch.setattr(_truncated_svd, "_ROWS_PER_BLOCK", 7)
    projection = top_singular_vectors(
        X, 4, center=False, sample_weight=np.ones(60), random_state=np.random.RandomState(0)
    )
    vectors = svd(X, full_matrices=False)[2][:4]
    np.testing.assert_allclose(
        projection.weight.T @ projection.weight, vectors.T @ vectors, atol=1e-9
    )


def test_root_mean_square_norm_is_weighted_and_one_for_zero_rows():
    X = rows_of(0)
    weights = np.arange(60.0)
    expected = np.sqrt(np.average(np.linalg.norm(X, axis=1) ** 2, weights=weights))
    np.testing.assert_allclose(root_mean_square_norm(X, weights), expected)
    np.testing.assert_allclose(root_mean_square_norm(csr_array(X), weights), expected)
    assert root_mean_square_norm(np.zeros_like(X), weights) == 1


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("layout", [np.asarray, csr_array])
@pytest.mark.parametrize("n_components", [3, 7, 12])
@pytest.mark.parametrize(("n_rows", "rank"), [(60, 3), (5, 5), (4, 2), (60, 0)])
def test_components_beyond_the_rank_are_orthonormal_and_map_the_rows_to_zero(
    n_rows, rank, n_components, layout, center, columns
):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, rank)) @ rng.normal(size=(rank, 12))
    weight = rng.uniform(0.5, 2, size=n_rows)
    projection = top_singular_vectors(
        layout(X),
        n_components,
        center=center,
        sample_weight=weight,
        random_state=np.random.RandomState(0),
    )
    np.testing.assert_allclose(
        projection.weight @ projection.weight.T, np.eye(n_components), atol=1e-9
    )
    np.testing.assert_allclose(projection(X)[:, rank:], 0, atol=1e-7)
    if n_components >= rank:
        mean = weight @ X / weight.sum() if center else 0
        np.testing.assert_allclose(projection(X) @ projection.weight, X - mean, atol=1e-7)


def test_weighted_rows_have_the_same_projection_as_repeated_rows(columns):
    X, counts = rows_of(0, n=6), np.array([1, 4, 0, 2, 3, 1])
    projections = [
        top_singular_vectors(
            rows, 10, center=True, sample_weight=weight, random_state=np.random.RandomState(seed)
        )
        for seed, (rows, weight) in enumerate(
            [(X, counts.astype(float)), (X.repeat(counts, axis=0), np.ones(counts.sum()))]
        )
    ]
    np.testing.assert_allclose(projections[0].weight, projections[1].weight, atol=1e-9)
