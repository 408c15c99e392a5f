"""Code for the CPU and for other devices gives the same ranks."""

import inspect
import re
import types
from functools import partial

import numpy as np
import pytest
import references
import torch
from builders import random_matrix

import skperco
from skperco.ranking import _percentile, _prefix_sums, _row_spread, _sorting


def copy_without_cpu_branches():
    """A module of the rank functions as they run on other devices, for tensors on the CPU."""
    module = types.ModuleType("ranking_of_other_devices")
    # All parts are executed in one namespace, so they need not import each other.
    parts = (_sorting, _prefix_sums, _row_spread, _percentile)
    names = "|".join(part.__name__.rpartition(".")[2] for part in parts)
    for part in parts:
        source = inspect.getsource(part)
        for comparison in ("==", "!="):
            source = source.replace(
                f'device.type {comparison} "cpu"', f'device.type {comparison} ""'
            )
        source = re.sub(rf"from skperco\.ranking\.({names}) import (\([^)]*\)|.*)", "", source)
        exec(compile(source, part.__file__, "exec"), module.__dict__)
    return module


OTHER_DEVICES = copy_without_cpu_branches()
BRANCHES = pytest.mark.parametrize("module", [skperco, OTHER_DEVICES], ids=["CPU", "others"])


@BRANCHES
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("weights", [None, torch.arange(1.0, 7.0)])
def test_nan_makes_all_ranks_of_its_row_nan_but_no_other_ranks(module, dtype, sign, weights):
    rows = random_matrix(2, 6, dtype)
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
    values = center + 0.05 * random_matrix(8, n, dtype)
    weights = 1 + random_matrix(1, n, dtype, seed=1)[0] if weighted else None
    slopes = random_matrix(8, n, dtype, seed=2)
    results = []
    for module in (skperco, OTHER_DEVICES):
        rows = values.clone().requires_grad_()
        ranks = module.soft_percentile_rank(rows, weights=weights)
        results.append((ranks.detach(), torch.autograd.grad((slopes * ranks).sum(), rows)[0]))
    (ranks, gradient), (other_ranks, other_gradient) = results
    torch.testing.assert_close(ranks, other_ranks, rtol=0, atol=1e-6)
    assert (gradient - other_gradient).norm() <= 1e-6 * other_gradient.norm()


@BRANCHES
@pytest.mark.parametrize("scale", [1e-35, 1e-25, 1e-15, 1e15, 1e25, 1e35])
def test_soft_ranks_in_single_precision_do_not_depend_on_extreme_scales(module, scale):
    slopes = random_matrix(4, 50, torch.float32, seed=1)
    gradients = []
    for factor in (1.0, scale):
        rows = (factor * random_matrix(4, 50)).float().requires_grad_()
        ranks = module.soft_percentile_rank(rows)
        gradient = torch.autograd.grad((slopes * ranks).sum(), rows)[0]
        gradients.append(factor * gradient.double())
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("weighted", [False, True])
def test_ranks_in_deterministic_mode_do_not_call_cumsum(weighted, monkeypatch):
    rows = random_matrix(3, 37).requires_grad_()
    weights = random_matrix(1, 37, seed=1)[0] if weighted else None

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
