import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from references import table

from skperco import percentile_rank
from skperco.dissimilarity._dense import (
    METRICS,
    order_among_rows,
    pairwise_dissimilarity,
    unit_rows,
)

BY_FORMULA = sorted(set(METRICS) - {"precomputed"})


def rows_of(seed, n=12, d=5, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator, dtype=dtype)


@pytest.mark.parametrize("metric", BY_FORMULA)
def test_dissimilarities_equal_their_formula(metric):
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
def test_gradients_equal_finite_differences(metric):
    anchors = rows_of(2, n=4).requires_grad_()
    references = rows_of(3, n=6).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda a, b: pairwise_dissimilarity(a, b, metric=metric), (anchors, references)
    )


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "cosine", "correlation"])
def test_float32_keeps_neighbors_under_a_common_offset(metric):
    rows = (rows_of(4, n=400, d=24) + 300).float()
    exact = table(rows, metric)
    found = pairwise_dissimilarity(rows, rows, metric=metric).numpy()
    np.fill_diagonal(exact, np.inf)
    np.fill_diagonal(found, np.inf)
    nearest = np.argsort(found, axis=1)[:, :5]
    taken = np.sort(np.take_along_axis(exact, nearest, axis=1), axis=1)
    wanted = np.sort(exact, axis=1)[:, :5]
    # The nearest found in float32 are as near as the true nearest, to the precision of float32.
    rtol = {"cosine": 1e-3, "correlation": 1e-3}.get(metric, 1e-5)
    np.testing.assert_allclose(taken, wanted, rtol=rtol)


def test_float32_keeps_near_neighbors_far_from_the_others():
    pair = torch.tensor([[50.0, 50.0], [50.001, 50.0], [50.003, 50.0]])
    far = rows_of(5, n=100, d=2, dtype=torch.float32)
    found = pairwise_dissimilarity(pair[:1], torch.cat([pair, far]), metric="euclidean")[0, :3]
    exact = (pair.double() - pair[0].double()).norm(dim=1)
    np.testing.assert_allclose(found, exact, rtol=1e-5)


def test_cosine_dissimilarity_of_zero_rows_is_zero_among_them_and_one_to_others():
    rows = torch.tensor([[0.0, 0.0], [0.0, 0.0], [3.0, 4.0]])
    found = pairwise_dissimilarity(rows, rows, metric="cosine")
    np.testing.assert_allclose(found, [[0, 0, 1], [0, 0, 1], [1, 1, 0]])


def test_correlation_treats_constant_rows_as_zero_rows():
    rows = torch.tensor([[0.1, 0.1, 0.1], [7.3, 7.3, 7.3], [1.0, 2.0, 4.0]])
    found = pairwise_dissimilarity(rows, rows, metric="correlation")
    np.testing.assert_allclose(found, [[0, 0, 1], [0, 0, 1], [1, 1, 0]], atol=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_cosine_does_not_depend_on_extreme_scales(scale):
    rows = rows_of(6, dtype=torch.float32)
    found = pairwise_dissimilarity(scale * rows, rows)
    np.testing.assert_allclose(found, pairwise_dissimilarity(rows, rows), atol=1e-6)


def test_a_callable_metric_is_called_with_anchors_and_references():
    rows = rows_of(7)
    found = pairwise_dissimilarity(rows[:3], rows, metric=lambda a, b: torch.cdist(a, b, p=3))
    assert found.shape == (3, 12)
    with pytest.raises(ValueError, match=r"metric must return.*\(3, 12\).*\(3, 3\)"):
        pairwise_dissimilarity(rows[:3], rows, metric=lambda a, b: a @ a.T)


def test_precomputed_dissimilarities_are_returned_unchanged():
    rows = rows_of(8).abs()
    assert pairwise_dissimilarity(rows, None, metric="precomputed") is rows


def test_the_error_of_an_unknown_metric_suggests_a_known_name():
    with pytest.raises(ValueError, match="Did you mean 'euclidean'"):
        pairwise_dissimilarity(rows_of(9), rows_of(9), metric="euclidian")
    with pytest.raises(ValueError, match="manhattan"):
        pairwise_dissimilarity(rows_of(9), rows_of(9), metric="zzz")
    with pytest.raises(TypeError, match="metric"):
        pairwise_dissimilarity(rows_of(9), rows_of(9), metric=3)


@pytest.mark.parametrize("metric", [*BY_FORMULA, lambda a, b: torch.cdist(a, b, p=3)])
def test_dissimilarities_of_a_batch_equal_those_of_each_pair(metric):
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


METRICS_AND_OTHERS = st.sampled_from([*BY_FORMULA, lambda a, b: torch.cdist(a, b, p=3)])


@given(st.integers(0, 1000), METRICS_AND_OTHERS)
def test_order_among_rows_is_that_of_the_dissimilarities(seed, metric):
    rows = rows_of(seed, n=9)
    rows[0] = 0
    anchors, others = torch.tensor([3, 0, 8]), torch.tensor([1, 0, 2, 2, 7])
    found = order_among_rows(rows, metric)(anchors, others)
    expected = pairwise_dissimilarity(rows[anchors], rows[others], metric=metric)
    torch.testing.assert_close(
        percentile_rank(found.round(decimals=9)), percentile_rank(expected.round(decimals=9))
    )


@pytest.mark.parametrize("size", [1e-25, 1.0, 1e25])
def test_unit_rows_neither_overflow_nor_underflow(size):
    rows = rows_of(0, dtype=torch.float32)
    rows[1] = 0
    found = unit_rows(size * rows)
    expected = torch.nn.functional.normalize(rows.double())
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_gradient_of_unit_rows_equals_finite_differences():
    assert torch.autograd.gradcheck(unit_rows, rows_of(0).view(3, 4, 5).requires_grad_())
