import numpy as np
import pytest
import references
import torch
from builders import TIED, random_matrix
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skperco import percentile_rank, soft_percentile_rank
from skperco.ranking._row_spread import row_spread

DISTINCT = st.integers(2, 30).flatmap(
    lambda n: st.permutations(range(n)).map(lambda order: np.array([order]) * 0.37)
)
BANDWIDTHS = st.floats(0.01, 3)


@given(TIED)
def test_exact_ranks_equal_the_definition(rows):
    found = percentile_rank(torch.from_numpy(rows))
    np.testing.assert_allclose(found, [references.percentile_rank(row) for row in rows])


@given(TIED, st.data())
def test_integer_weights_equal_repeated_references(rows, data):
    n = rows.shape[1]
    counts = data.draw(hnp.arrays(np.int64, n, elements=st.integers(0, 3)))
    if not counts.any():
        counts[0] = 1
    weights = torch.from_numpy(counts).double()
    repeated = torch.from_numpy(np.repeat(rows, counts, axis=1))
    for rank in (
        percentile_rank,
        lambda d, weights=None: soft_percentile_rank(d, bandwidth=0.6, scale=1.0, weights=weights),
    ):
        weighted = rank(torch.from_numpy(rows), weights=weights)
        expected = rank(repeated)
        found = np.repeat(weighted.numpy(), counts, axis=1)
        np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("n", [2, 17, 1000])
@pytest.mark.parametrize("bandwidth", [0.01, 0.3, 5.0])
def test_soft_ranks_equal_the_quadratic_form(dtype, atol, n, bandwidth):
    rows = random_matrix(4, n, dtype) * 3 + 100
    weights = random_matrix(1, n, dtype, seed=1)
    sigma = (bandwidth * row_spread(rows)).double()
    for given_weights in (None, weights):
        found = soft_percentile_rank(rows, bandwidth=bandwidth, weights=given_weights)
        doubled = None if given_weights is None else given_weights.double()
        expected = references.soft_percentile_rank(rows.double(), sigma, doubled)
        np.testing.assert_allclose(found, expected, atol=atol, rtol=0)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("bandwidth", [0.05, 0.4, 3.0])
def test_gradients_equal_finite_differences(weighted, bandwidth):
    rows = random_matrix(3, 20).requires_grad_()
    weights = random_matrix(1, 20, seed=1) if weighted else None
    assert torch.autograd.gradcheck(
        lambda d: soft_percentile_rank(d, bandwidth=bandwidth, scale=1.0, weights=weights), rows
    )


@given(TIED, BANDWIDTHS, st.booleans(), st.integers(0, 100))
def test_straight_through_has_exact_values_and_soft_gradients(rows, bandwidth, weighted, seed):
    weights = random_matrix(1, rows.shape[1], seed=seed) + 0.1 if weighted else None
    incoming = random_matrix(*rows.shape, seed=seed)
    gradients = []
    for straight_through in (False, True):
        given_rows = torch.from_numpy(rows).requires_grad_()
        ranks = soft_percentile_rank(
            given_rows, bandwidth=bandwidth, weights=weights, straight_through=straight_through
        )
        gradients += torch.autograd.grad(ranks, given_rows, incoming)
    np.testing.assert_array_equal(*gradients)
    expected = percentile_rank(torch.from_numpy(rows), weights=weights)
    np.testing.assert_array_equal(ranks.detach(), expected)


@pytest.mark.parametrize("weighted", [False, True])
def test_ranks_of_a_row_do_not_depend_on_the_other_rows(weighted):
    """There are more rows than fit into one block."""
    rows = random_matrix(40, 5000, torch.float32)
    weights = random_matrix(40, 5000, torch.float32, seed=1) if weighted else None
    all_ranks = soft_percentile_rank(rows, weights=weights)
    for i in (0, 25, 26, 39):
        ranks = soft_percentile_rank(rows[[i]], weights=None if weights is None else weights[[i]])
        np.testing.assert_array_equal(all_ranks[[i]], ranks)


def test_windows_are_symmetric_in_spite_of_rounding():
    """Values are one window apart, up to rounding; the gradient of symmetric windows sums to 0."""
    rows = (torch.arange(300, dtype=torch.float32) / 7)[None].requires_grad_()
    ranks = soft_percentile_rank(rows, bandwidth=1.0, scale=3 / 7)
    np.testing.assert_allclose(ranks.sum().item(), 150, rtol=1e-6)
    ranks.backward(random_matrix(1, 300, torch.float32))
    assert abs(rows.grad.double().sum().item()) < 1e-5 * rows.grad.abs().sum().item()


def test_soft_ranks_of_no_rows_are_empty():
    assert soft_percentile_rank(torch.zeros(0, 5)).shape == (0, 5)


@given(TIED, BANDWIDTHS)
def test_soft_ranks_sum_to_half_the_number_of_references(rows, bandwidth):
    ranks = soft_percentile_rank(torch.from_numpy(rows), bandwidth=bandwidth)
    np.testing.assert_allclose(ranks.sum(1), rows.shape[1] / 2)


@given(TIED, BANDWIDTHS)
def test_soft_ranks_keep_the_order_of_the_dissimilarities(rows, bandwidth):
    ranks = soft_percentile_rank(torch.from_numpy(rows), bandwidth=bandwidth).numpy()
    order = np.argsort(rows, axis=1)
    assert (np.diff(np.take_along_axis(ranks, order, axis=1)) >= -1e-12).all()


@given(DISTINCT)
def test_soft_ranks_with_a_narrow_bandwidth_are_exact(rows):
    rows = torch.from_numpy(rows)
    narrow = soft_percentile_rank(rows, bandwidth=0.3, scale=1.0)
    np.testing.assert_allclose(narrow, percentile_rank(rows), atol=1e-12)


@given(TIED)
def test_bandwidth_zero_gives_exact_ranks(rows):
    rows = torch.from_numpy(rows)
    np.testing.assert_allclose(
        soft_percentile_rank(rows, bandwidth=0.0), percentile_rank(rows), atol=1e-12
    )


def test_bandwidth_zero_separates_adjacent_floating_point_numbers():
    steps = torch.arange(9, dtype=torch.float32) * torch.finfo(torch.float32).eps
    rows = torch.cat([-torch.ones(60), 1 + steps])[None]
    np.testing.assert_array_equal(soft_percentile_rank(rows, bandwidth=0.0), percentile_rank(rows))


@given(TIED, BANDWIDTHS, st.integers(0, 1000))
def test_the_gradient_of_soft_ranks_sums_to_zero(rows, bandwidth, seed):
    rows = torch.from_numpy(rows).requires_grad_()
    incoming = random_matrix(*rows.shape, seed=seed)
    soft_percentile_rank(rows, bandwidth=bandwidth, scale=1.0).backward(incoming)
    np.testing.assert_allclose(rows.grad.sum(1), 0, atol=1e-9)


@given(TIED, BANDWIDTHS, st.sampled_from([1e-3, 0.5, 40.0]))
def test_soft_ranks_are_unchanged_by_scaling_dissimilarities_and_bandwidth(rows, bandwidth, factor):
    rows = torch.from_numpy(rows)
    found = soft_percentile_rank(factor * rows, bandwidth=bandwidth, scale=factor)
    expected = soft_percentile_rank(rows, bandwidth=bandwidth, scale=1.0)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_the_default_scale_is_relative_to_the_row():
    rows = random_matrix(2, 50)
    found = soft_percentile_rank(torch.cat([rows, 1e6 * rows]), bandwidth=0.2)
    np.testing.assert_allclose(found[:2], found[2:], atol=1e-9)


def test_constant_rows_have_rank_one_half_and_no_gradient():
    rows = torch.full((2, 7), 3.0, requires_grad=True)
    ranks = soft_percentile_rank(rows)
    np.testing.assert_allclose(ranks.detach(), 0.5)
    ranks.square().sum().backward()
    assert (rows.grad == 0).all()
