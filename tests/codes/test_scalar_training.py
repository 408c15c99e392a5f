"""Scalar codes: levels of normal variables, and words of whole dimensions."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import norm

from skperco.codes._allocation import water_filling
from skperco.codes._scalar_code import ScalarCode, normal_error, normal_levels
from skperco.codes._scalar_training import level_counts, train_scalar_code

ONES = np.ones(4000)


def normal_rows(deviations, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(len(ONES), len(deviations))) * deviations).astype(np.float32)


def trained(rows, n_bytes):
    weights = np.ones(rows.shape[1], dtype=np.float32)
    order, code = train_scalar_code(rows, n_bytes, weights=weights, sample_weight=ONES)
    ordered = torch.from_numpy(rows[:, order])
    return ordered, code


@pytest.mark.parametrize("n_levels", [1, 2, 3, 7, 64])
def test_each_level_is_the_mean_of_its_cell(n_levels):
    bounds = norm.ppf(np.arange(n_levels + 1) / n_levels) * np.sqrt(3)
    cells = pairwise(bounds)
    means = [norm.expect(lambda x: x, lb=a, ub=b, conditional=True) for a, b in cells]
    np.testing.assert_allclose(normal_levels(n_levels), means, atol=1e-6)


def test_the_error_is_close_to_that_of_optimal_levels():
    # Max (1960), Table I: mean squared errors of optimal quantizers with these numbers of outputs.
    for n_levels, error in {2: 0.3634, 4: 0.1175, 8: 0.03454, 16: 0.009497, 32: 0.002499}.items():
        assert error - 1e-4 <= normal_error(n_levels) <= 1.07 * error


def test_many_levels_have_the_error_of_panter_and_dite():
    assert normal_error(2**12) == pytest.approx(math.pi * 3**0.5 / 2 / 4**12, rel=0.01)


@given(
    hnp.arrays(np.float64, st.integers(1, 12), elements=st.floats(0, 1e3)),
    st.sampled_from([2**8, 2**16]),
)
def test_a_word_has_a_value_for_every_combination_of_levels(variances, n_values):
    n_levels = level_counts(variances, n_values)
    assert (n_levels >= 1).all()
    assert n_values / 2 <= math.prod(n_levels.tolist()) <= n_values
    order = np.argsort(variances, kind="stable")
    bits = water_filling(variances, np.log2(n_values))
    np.testing.assert_allclose(np.log2(n_levels[order]), bits[order], atol=1.5)


@pytest.mark.parametrize("n_bytes", [1, 2, 5, 8, 16])
def test_every_code_decodes_to_a_row_that_has_this_code(n_bytes):
    _, code = trained(normal_rows(np.linspace(3, 0.5, 8)), n_bytes)
    codes = torch.randint(256, (200, n_bytes), generator=torch.Generator().manual_seed(0))
    codes = code.encode(code.decode(codes.to(torch.uint8)))
    assert codes.shape == (200, n_bytes)
    torch.testing.assert_close(code.encode(code.decode(codes)), codes)


@pytest.mark.parametrize("n_bytes", [4, 8])
def test_the_error_on_normal_rows_is_that_of_water_filling(n_bytes):
    deviations = np.linspace(4, 0.5, 8)
    ordered, code = trained(normal_rows(deviations), n_bytes)
    error = (code.decode(code.encode(ordered)) - ordered).square().mean(0).sum().item()
    bound = (deviations**2 * 4.0 ** -water_filling(deviations**2, 8 * n_bytes)).sum()
    # Scalar quantization at a fixed rate has up to 2.72 times the error of the bound.
    assert bound < error < 3.6 * bound


def test_words_of_two_bytes_give_a_dimension_more_than_eight_bits():
    rows = normal_rows(np.array([100, 1, 1, 1]))
    assert trained(rows, 4)[1].word_bytes == 2
    assert trained(rows, 4)[1].n_levels.max() > 256
    assert trained(normal_rows(np.ones(8)), 4)[1].word_bytes == 1


@pytest.mark.parametrize(("n_components", "word_bytes"), [(8, 2), (10, 1), (12, 2)])
def test_words_of_two_bytes_have_equal_numbers_of_dimensions(n_components, word_bytes):
    code = trained(normal_rows(10.0 ** -np.arange(n_components)), 8)[1]
    assert code.word_bytes == word_bytes
    assert word_bytes == 1 or len(set(code.widths.tolist())) == 1


def test_all_bytes_are_used_where_there_are_fewer_dimensions():
    code = trained(normal_rows(10.0 ** -np.arange(6)), 8)[1]
    assert (code.word_bytes, code.widths.tolist()) == (2, [1, 1, 2, 2])


def test_scales_are_larger_than_the_deviation_for_heavy_tails():
    rows = np.random.default_rng(0).standard_t(3, size=(len(ONES), 2)).astype(np.float32)
    ordered, code = trained(rows, 2)
    assert (code.scales.numpy() > 1.2 * ordered.numpy().std(0)).all()
    deviations = ScalarCode(code.n_levels, ordered.std(0), code.widths, code.sizes)
    errors = [
        (one.decode(one.encode(ordered)) - ordered).square().sum() for one in (code, deviations)
    ]
    assert errors[0] < errors[1]


def test_constant_dimensions_decode_to_zero():
    rows = normal_rows(np.array([1.0, 0.0]))
    ordered, code = trained(rows, 1)
    decoded = code.decode(code.encode(ordered))
    assert (decoded[:, ordered.abs().sum(0) == 0].abs() < 1e-9).all()


@pytest.mark.parametrize("n_bytes", [3, 4])
def test_centroids_of_a_word_are_its_decoded_values(n_bytes):
    _, code = trained(normal_rows(np.linspace(100, 0.5, 6)), n_bytes)
    decoded = code.decode(torch.arange(256, dtype=torch.uint8)[:, None].expand(-1, n_bytes))
    values = np.arange(256) * (257 if code.word_bytes == 2 else 1)
    parts = [code.centroids(word)[values] for word in range(len(code.widths))]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), decoded.numpy())
