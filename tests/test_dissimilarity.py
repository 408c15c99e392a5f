import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from references import table

from skperco.dissimilarity import METRICS, listed_dissimilarity, pairwise_dissimilarity

BY_FORMULA = sorted(set(METRICS) - {"precomputed"})


def rows_of(seed, n=12, d=5, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator, dtype=dtype)


@pytest.mark.parametrize("metric", BY_FORMULA)
def test_agrees_with_formula(metric):
    rows = rows_of(0)
    found = pairwise_dissimilarity(rows[:4], rows, metric=metric)
    np.testing.assert_allclose(found, table(rows, metric)[:4], atol=1e-12)


@pytest.mark.parametrize("metric", BY_FORMULA)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_identical_rows_are_at_zero_with_finite_gradient(metric, dtype):
    rows = rows_of(1, n=300, d=33, dtype=dtype) * 7 + 100
    anchors = rows[:50].clone().requires_grad_()
    references = rows.clone().requires_grad_()
    found = pairwise_dissimilarity(anchors, references, metric=metric)
    assert (found.diagonal() == 0).all()
    assert found.dtype == dtype
    found.sum().backward()
    assert anchors.grad.isfinite().all()
    assert references.grad.isfinite().all()


@pytest.mark.parametrize("metric", BY_FORMULA)
def test_gradient(metric):
    anchors = rows_of(2, n=4).requires_grad_()
    references = rows_of(3, n=6).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda a, b: pairwise_dissimilarity(a, b, metric=metric), (anchors, references)
    )


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "cosine", "correlation"])
def test_float32_keeps_neighbours_under_a_common_offset(metric):
    rows = (rows_of(4, n=400, d=24) + 300).float()
    exact = table(rows, metric)
    found = pairwise_dissimilarity(rows, rows, metric=metric).numpy()
    np.fill_diagonal(exact, np.inf)
    np.fill_diagonal(found, np.inf)
    nearest = np.argsort(found, axis=1)[:, :5]
    taken = np.sort(np.take_along_axis(exact, nearest, axis=1), axis=1)
    wanted = np.sort(exact, axis=1)[:, :5]
    # Whoever float32 puts among the nearest is as near as the true ones, to float32's digits.
    rtol = {"cosine": 1e-3, "correlation": 1e-3}.get(metric, 1e-5)
    np.testing.assert_allclose(taken, wanted, rtol=rtol)


def test_float32_keeps_near_neighbours_far_from_the_others():
    pair = torch.tensor([[50.0, 50.0], [50.001, 50.0], [50.003, 50.0]])
    far = rows_of(5, n=100, d=2, dtype=torch.float32)
    found = pairwise_dissimilarity(pair[:1], torch.cat([pair, far]), metric="euclidean")[0, :3]
    exact = (pair.double() - pair[0].double()).norm(dim=1)
    np.testing.assert_allclose(found, exact, rtol=1e-5)


def test_zero_rows_under_cosine():
    rows = torch.tensor([[0.0, 0.0], [0.0, 0.0], [3.0, 4.0]])
    found = pairwise_dissimilarity(rows, rows, metric="cosine")
    np.testing.assert_allclose(found, [[0, 0, 1], [0, 0, 1], [1, 1, 0]])


def test_constant_rows_under_correlation_are_zero_rows():
    rows = torch.tensor([[0.1, 0.1, 0.1], [7.3, 7.3, 7.3], [1.0, 2.0, 4.0]])
    found = pairwise_dissimilarity(rows, rows, metric="correlation")
    np.testing.assert_allclose(found, [[0, 0, 1], [0, 0, 1], [1, 1, 0]], atol=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_cosine_ignores_extreme_scales(scale):
    rows = rows_of(6, dtype=torch.float32)
    found = pairwise_dissimilarity(scale * rows, rows)
    np.testing.assert_allclose(found, pairwise_dissimilarity(rows, rows), atol=1e-6)


def test_callable_gets_both_sides():
    rows = rows_of(7)
    found = pairwise_dissimilarity(rows[:3], rows, metric=lambda a, b: torch.cdist(a, b, p=3))
    assert found.shape == (3, 12)
    with pytest.raises(ValueError, match=r"metric must return.*\(3, 12\).*\(3, 3\)"):
        pairwise_dissimilarity(rows[:3], rows, metric=lambda a, b: a @ a.T)


def test_precomputed_rows_pass_through():
    rows = rows_of(8).abs()
    assert pairwise_dissimilarity(rows, None, metric="precomputed") is rows


def test_unknown_metric_names_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'euclidean'"):
        pairwise_dissimilarity(rows_of(9), rows_of(9), metric="euclidian")
    with pytest.raises(ValueError, match="manhattan"):
        pairwise_dissimilarity(rows_of(9), rows_of(9), metric="zzz")
    with pytest.raises(TypeError, match="metric"):
        pairwise_dissimilarity(rows_of(9), rows_of(9), metric=3)


@pytest.mark.parametrize("metric", [*BY_FORMULA, lambda a, b: torch.cdist(a, b, p=3)])
def test_batches(metric):
    anchors, references = rows_of(10, n=6).view(2, 3, 5), rows_of(11, n=8).view(2, 4, 5)
    found = pairwise_dissimilarity(anchors, references, metric=metric)
    one_by_one = [
        pairwise_dissimilarity(*pair, metric=metric)
        for pair in zip(anchors, references, strict=True)
    ]
    np.testing.assert_allclose(found, torch.stack(one_by_one))
    if isinstance(metric, str):
        anchors.requires_grad_()
        assert torch.autograd.gradcheck(
            lambda a, b: pairwise_dissimilarity(a, b, metric=metric), (anchors, references)
        )


@given(st.integers(0, 1000), st.sampled_from([*BY_FORMULA, lambda a, b: torch.cdist(a, b, p=3)]))
def test_listed_dissimilarities_are_those_of_the_pairs(seed, metric):
    rows = rows_of(seed, n=9)
    generator = torch.Generator().manual_seed(seed)
    anchors = torch.randint(9, (4,), generator=generator)
    listed = torch.randint(9, (4, 3), generator=generator)
    found = listed_dissimilarity(rows, anchors, listed, metric=metric)
    one_by_one = [
        pairwise_dissimilarity(rows[anchor][None], rows[others], metric=metric)
        for anchor, others in zip(anchors, listed, strict=True)
    ]
    np.testing.assert_allclose(found, torch.cat(one_by_one), atol=1e-12)


@pytest.mark.parametrize("metric", ["cosine", "correlation", "sqeuclidean"])
def test_gradient_of_listed_dissimilarities(metric):
    """With a row that is listed twice, and by several, itself among them."""
    rows = rows_of(0, n=6).requires_grad_()
    anchors, listed = torch.tensor([0, 3, 0]), torch.tensor([[1, 1, 2], [3, 4, 1], [5, 0, 2]])
    assert torch.autograd.gradcheck(
        lambda rows: listed_dissimilarity(rows, anchors, listed, metric=metric), rows
    )
