"""Scalar codes: Lloyd-Max levels, and bits that no two bytes share."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skperco.codes._scalar_training import _allocate, lloyd_max_levels, train_scalar_code


def error(values, levels, weights):
    return weights @ ((values[:, None] - levels) ** 2).min(1)


@given(
    hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(-5, 5)),
    st.sampled_from([1, 2, 4, 8]),
)
@settings(max_examples=50)
def test_levels_are_ascending_and_no_worse_than_quantiles(values, n_levels):
    weights = np.ones(len(values))
    levels = lloyd_max_levels(values, n_levels, weights)
    assert len(levels) == n_levels
    assert (np.diff(levels) >= 0).all()
    quantiles = np.quantile(values, (np.arange(n_levels) + 0.5) / n_levels, method="inverted_cdf")
    assert error(values, levels, weights) <= error(values, quantiles, weights) + 1e-9


def test_levels_of_a_normal_variable_are_those_of_max():
    # Max (1960), Table I: the levels for four outputs.
    values = np.random.default_rng(0).normal(size=200_000)
    levels = lloyd_max_levels(values, 4, np.ones(len(values)))
    np.testing.assert_allclose(levels, [-1.510, -0.4528, 0.4528, 1.510], atol=0.02)


def test_weights_are_repetitions():
    rng = np.random.default_rng(1)
    values, weights = rng.normal(size=40), rng.integers(1, 4, size=40)
    repeated = np.repeat(values, weights)
    np.testing.assert_allclose(
        lloyd_max_levels(values, 4, weights.astype(float)),
        lloyd_max_levels(repeated, 4, np.ones(len(repeated))),
    )


@given(hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 1e3)), st.integers(1, 20))
def test_each_byte_has_eight_bits_of_whole_dimensions(variances, n_bytes):
    if len(variances) < n_bytes:
        return
    parts = _allocate(variances, n_bytes)
    assert [bits.sum() for _, bits in parts] == [8] * n_bytes
    groups = np.concatenate([group for group, _ in parts])
    np.testing.assert_array_equal(np.sort(groups), np.arange(len(variances)))


def test_dimensions_of_larger_variance_get_at_least_as_many_bits():
    variances = 4.0 ** -np.arange(6)
    parts = _allocate(variances, 2)
    bits = np.empty(6, dtype=int)
    for group, of_group in parts:
        bits[group] = of_group
    assert (np.diff(bits) <= 0).all()


def test_each_dimension_is_coded_by_its_nearest_level():
    rows = np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32)
    weights = np.array([1, 0.5, 0.4, 0.1], dtype=np.float32)
    order, code = train_scalar_code(rows, 2, weights=weights, sample_weight=np.ones(500))
    ordered = torch.from_numpy(rows[:, order])
    decoded = code.decode(code.encode(ordered)).numpy()
    for column, original in zip(decoded.T, rows[:, order].T, strict=True):
        levels = np.unique(column)
        np.testing.assert_array_equal(column, levels[np.abs(original[:, None] - levels).argmin(1)])
