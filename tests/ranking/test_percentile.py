import inspect
import re
import types
from functools import partial

import numpy as np
import pytest
import references
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skperco import percentile_rank, soft_percentile_rank
from skperco.ranking import _percentile, _sorting
from skperco.ranking._percentile import row_spread
from skperco.ranking._sorting import sort_rows

TIED = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 3), st.integers(2, 30)),
    elements=st.integers(0, 12).map(lambda value: value / 4),
)
DISTINCT = st.integers(2, 30).flatmap(
    lambda n: st.permutations(range(n)).map(lambda order: np.array([order]) * 0.37)
)
BANDWIDTHS = st.floats(0.01, 3)


def random_rows(n_rows, n, dtype=torch.float64, seed=0):
    return torch.rand(n_rows, n, generator=torch.Generator().manual_seed(seed), dtype=dtype)


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
    rows = random_rows(4, n, dtype) * 3 + 100
    weights = random_rows(1, n, dtype, seed=1)
    sigma = (bandwidth * row_spread(rows)).double()
    for given_weights in (None, weights):
        found = soft_percentile_rank(rows, bandwidth=bandwidth, weights=given_weights)
        doubled = None if given_weights is None else given_weights.double()
        expected = references.soft_percentile_rank(rows.double(), sigma, doubled)
        np.testing.assert_allclose(found, expected, atol=atol, rtol=0)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("bandwidth", [0.05, 0.4, 3.0])
def test_gradients_equal_finite_differences(weighted, bandwidth):
    rows = random_rows(3, 20).requires_grad_()
    weights = random_rows(1, 20, seed=1) if weighted else None
    assert torch.autograd.gradcheck(
        lambda d: soft_percentile_rank(d, bandwidth=bandwidth, scale=1.0, weights=weights), rows
    )


@given(TIED, BANDWIDTHS, st.booleans(), st.integers(0, 100))
def test_straight_through_has_exact_values_and_soft_gradients(rows, bandwidth, weighted, seed):
    weights = random_rows(1, rows.shape[1], seed=seed) + 0.1 if weighted else None
    incoming = random_rows(*rows.shape, seed=seed)
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
    rows = random_rows(40, 5000, torch.float32)
    weights = random_rows(40, 5000, torch.float32, seed=1) if weighted else None
    all_ranks = soft_percentile_rank(rows, weights=weights)
    for i in (0, 25, 26, 39):
        ranks = soft_percentile_rank(rows[[i]], weights=None if weights is None else weights[[i]])
        np.testing.assert_array_equal(all_ranks[[i]], ranks)


def test_windows_are_symmetric_in_spite_of_rounding():
    """Values are one window apart, up to rounding; the gradient sums to zero if windows agree."""
    rows = (torch.arange(300, dtype=torch.float32) / 7)[None].requires_grad_()
    ranks = soft_percentile_rank(rows, bandwidth=1.0, scale=3 / 7)
    np.testing.assert_allclose(ranks.sum().item(), 150, rtol=1e-6)
    ranks.backward(random_rows(1, 300, torch.float32))
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
    incoming = random_rows(*rows.shape, seed=seed)
    soft_percentile_rank(rows, bandwidth=bandwidth, scale=1.0).backward(incoming)
    np.testing.assert_allclose(rows.grad.sum(1), 0, atol=1e-9)


@given(TIED, BANDWIDTHS, st.sampled_from([1e-3, 0.5, 40.0]))
def test_soft_ranks_are_unchanged_by_scaling_dissimilarities_and_bandwidth(rows, bandwidth, factor):
    rows = torch.from_numpy(rows)
    found = soft_percentile_rank(factor * rows, bandwidth=bandwidth, scale=factor)
    expected = soft_percentile_rank(rows, bandwidth=bandwidth, scale=1.0)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_the_default_scale_is_relative_to_the_row():
    rows = random_rows(2, 50)
    found = soft_percentile_rank(torch.cat([rows, 1e6 * rows]), bandwidth=0.2)
    np.testing.assert_allclose(found[:2], found[2:], atol=1e-9)


def test_constant_rows_have_rank_one_half_and_no_gradient():
    rows = torch.full((2, 7), 3.0, requires_grad=True)
    ranks = soft_percentile_rank(rows)
    np.testing.assert_allclose(ranks.detach(), 0.5)
    ranks.square().sum().backward()
    assert (rows.grad == 0).all()


def test_a_negative_bandwidth_raises_an_error():
    with pytest.raises(ValueError, match="bandwidth"):
        soft_percentile_rank(random_rows(1, 3), bandwidth=-1.0)


@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 3), st.integers(1, 50)),
        elements=st.sampled_from([-1.0, 0.0, 1.0]).flatmap(
            lambda start: st.integers(0, 60).map(lambda steps: start + steps * 2**-52)
        )
        | st.floats(-1e300, 1e300),
    )
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_sorting_separates_adjacent_floating_point_numbers(dtype, rows):
    rows = rows.clip(-1e38, 1e38).astype(dtype)
    ordered, order = sort_rows(torch.from_numpy(rows))
    np.testing.assert_array_equal(ordered, np.sort(rows, axis=1))
    np.testing.assert_array_equal(np.take_along_axis(rows, order.numpy(), axis=1), ordered)
    for row in np.sort(order.numpy(), axis=1):
        np.testing.assert_array_equal(row, np.arange(rows.shape[1]))


def copy_without_cpu_branches():
    """The module of ranks as it runs on other devices, for tensors on the CPU."""
    module = types.ModuleType("ranking_of_other_devices")
    # The functions of the first part are defined in the same namespace, so the second need not
    # import them.
    for part in (_sorting, _percentile):
        source = inspect.getsource(part)
        for comparison in ("==", "!="):
            source = source.replace(
                f'device.type {comparison} "cpu"', f'device.type {comparison} ""'
            )
        source = re.sub(r"from skperco\.ranking\._sorting import (\([^)]*\)|.*)", "", source)
        exec(compile(source, part.__file__, "exec"), module.__dict__)
    return module


OTHER_DEVICES = copy_without_cpu_branches()
BRANCHES = pytest.mark.parametrize("module", [_percentile, OTHER_DEVICES], ids=["CPU", "others"])


@BRANCHES
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("weights", [None, torch.arange(1.0, 7.0)])
def test_nan_makes_all_ranks_of_its_row_nan_but_no_other_ranks(module, dtype, sign, weights):
    rows = random_rows(2, 6, dtype)
    expected = module.percentile_rank(rows, weights=weights)[1]
    rows[0, 2] = torch.copysign(torch.tensor(torch.nan, dtype=dtype), torch.tensor(float(sign)))
    soft = partial(module.soft_percentile_rank, weights=weights)
    for rank in (
        partial(module.percentile_rank, weights=weights),
        soft,
        partial(soft, straight_through=True),
    ):
        found = rank(rows)
        assert found[0].isnan().all()
        assert found[1].isfinite().all()
    torch.testing.assert_close(module.percentile_rank(rows, weights=weights)[1], expected)


@BRANCHES
def test_infinite_dissimilarities_have_the_largest_ranks(module):
    rows = torch.tensor([[torch.inf, 1.0, 3.0, torch.inf]])
    np.testing.assert_allclose(
        module.percentile_rank(rows)[0], references.percentile_rank(rows[0].numpy())
    )
    assert module.soft_percentile_rank(rows).isnan().all()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [2, 33, 400])
@pytest.mark.parametrize("center", [0, 1, 50])
def test_soft_ranks_and_gradients_on_the_cpu_equal_those_on_other_devices(
    weighted, dtype, n, center
):
    # Concentrated values, for which the last bits decide which references a window holds.
    values = center + 0.05 * random_rows(8, n, dtype)
    weights = 1 + random_rows(1, n, dtype, seed=1)[0] if weighted else None
    slopes = random_rows(8, n, dtype, seed=2)
    results = []
    for module in (_percentile, OTHER_DEVICES):
        rows = values.clone().requires_grad_()
        ranks = module.soft_percentile_rank(rows, weights=weights)
        results.append((ranks.detach(), torch.autograd.grad((slopes * ranks).sum(), rows)[0]))
    (ranks, gradient), (other_ranks, other_gradient) = results
    torch.testing.assert_close(ranks, other_ranks, rtol=0, atol=1e-6)
    assert (gradient - other_gradient).norm() <= 1e-6 * other_gradient.norm()


@BRANCHES
@pytest.mark.parametrize("scale", [1e-35, 1e-25, 1e-15, 1e15, 1e25, 1e35])
def test_soft_ranks_in_single_precision_do_not_depend_on_extreme_scales(module, scale):
    slopes = random_rows(4, 50, torch.float32, seed=1)
    gradients = []
    for factor in (1.0, scale):
        rows = (factor * random_rows(4, 50)).float().requires_grad_()
        ranks = module.soft_percentile_rank(rows)
        gradient = torch.autograd.grad((slopes * ranks).sum(), rows)[0]
        gradients.append(factor * gradient.double())
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("weighted", [False, True])
def test_ranks_in_deterministic_mode_do_not_call_cumsum(weighted, monkeypatch):
    rows = random_rows(3, 37).requires_grad_()
    weights = random_rows(1, 37, seed=1)[0] if weighted else None

    def results():
        soft = OTHER_DEVICES.soft_percentile_rank(rows, weights=weights)
        (gradient,) = torch.autograd.grad(soft.square().sum(), rows)
        exact = OTHER_DEVICES.percentile_rank(rows, weights=weights)
        sums = OTHER_DEVICES.cumulative_sums(soft.detach(), dim=0, dtype=torch.float64)
        return soft.detach(), gradient, exact, sums

    expected = results()
    cumsum, method = torch.cumsum, torch.Tensor.cumsum

    def refuse(function):
        def refusing(values, *args, dtype=None, **kwargs):
            if (values.dtype if dtype is None else dtype).is_floating_point:
                raise RuntimeError("cumsum has no deterministic implementation")
            return function(values, *args, dtype=dtype, **kwargs)

        return refusing

    monkeypatch.setattr(torch, "cumsum", refuse(cumsum))
    monkeypatch.setattr(torch.Tensor, "cumsum", refuse(method))
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    for found, wanted in zip(results(), expected, strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("rank", [percentile_rank, soft_percentile_rank])
@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        (np.ones((3, 4)), TypeError, "dissimilarities must be a torch.Tensor, got ndarray"),
        (torch.ones(4), ValueError, r"dissimilarities must be a dense matrix.* shape \(4,\)"),
        (torch.ones(2, 3, 4), ValueError, r"dissimilarities must be .* shape \(2, 3, 4\)"),
        (torch.ones(3, 4).to_sparse(), ValueError, "dissimilarities must be a dense matrix"),
    ],
)
def test_ranks_of_anything_but_a_dense_matrix_raise_an_error(rank, table, error, message):
    with pytest.raises(error, match=message):
        rank(table)


@pytest.mark.parametrize("rank", [percentile_rank, soft_percentile_rank])
def test_weights_on_another_device_raise_an_error(rank):
    with pytest.raises(ValueError, match="dissimilarities and weights must be on one device"):
        rank(torch.ones(3, 4), weights=torch.ones(4, device="meta"))
