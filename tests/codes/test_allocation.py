"""Allocation of bits to dimensions, and of dimensions to groups."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skperco.codes._allocation import error_weights, group_dimensions, mean_squares, water_filling

VARIANCES = hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(1e-6, 1e3))


@given(VARIANCES, st.floats(0.1, 10))
def test_weights_of_errors_grow_with_the_variance_whatever_the_unit(variances, unit):
    weights = error_weights(variances)
    assert weights.max() == 1
    assert weights.min() > 0
    assert (np.diff(weights[np.argsort(variances)]) >= 0).all()
    np.testing.assert_allclose(error_weights(unit * variances), weights, rtol=1e-5)


def test_dimensions_without_variance_have_a_small_weight():
    weights = error_weights(np.array([0.0, 1.0]))
    assert 0 < weights[0] < 0.05
    np.testing.assert_array_equal(error_weights(np.zeros(3)), 1)


@given(st.integers(0, 20))
def test_mean_squares_are_those_of_repeated_rows(seed):
    rng = np.random.default_rng(seed)
    rows, weight = rng.normal(size=(9, 3)).astype(np.float32), rng.integers(0, 4, size=9)
    weight[0] = 1
    expected = (np.repeat(rows, weight, axis=0).astype(np.float64) ** 2).mean(0)
    np.testing.assert_allclose(mean_squares(rows, weight), expected)


@given(VARIANCES, st.integers(1, 200))
def test_bits_sum_to_the_budget_and_leave_the_same_error_in_each_coded_dimension(variances, n):
    bits = water_filling(variances, n)
    assert bits.sum() == pytest.approx(n)
    assert (bits >= -1e-9).all()
    errors = variances * 4.0**-bits
    level = errors[bits > 1e-9].max()
    np.testing.assert_allclose(errors[bits > 1e-9], level, rtol=1e-6)
    assert (variances[bits <= 1e-9] <= level * (1 + 1e-6)).all()


def test_dimensions_without_variance_get_no_bits():
    np.testing.assert_allclose(water_filling(np.array([0, 4, 1, 0.0]), 3), [0, 2, 1, 0])


@given(VARIANCES, st.integers(1, 8))
def test_groups_are_a_partition_with_sizes_that_differ_by_at_most_one(variances, n_groups):
    groups = group_dimensions(variances, np.ones(n_groups, dtype=int))
    sizes = [len(group) for group in groups]
    assert max(sizes) - min(sizes) <= 1
    np.testing.assert_array_equal(np.sort(np.concatenate(groups)), np.arange(len(variances)))


def test_groups_of_equal_capacity_get_nearly_the_same_number_of_bits():
    bits = np.array([4, 3.5, 3, 2.5, 2, 1.5, 1, 0.5])
    loads = [bits[group].sum() for group in group_dimensions(bits, np.ones(4, dtype=int))]
    np.testing.assert_allclose(loads, 4.5)


def test_groups_get_bits_in_proportion_to_their_capacities():
    groups = group_dimensions(np.ones(6), np.array([2, 1, 1]))
    assert [len(group) for group in groups] == [2, 2, 2]
    loaded = group_dimensions(np.array([4.0, 2, 2, 0, 0, 0]), np.array([2, 1, 1]))
    assert 0 in loaded[0]
