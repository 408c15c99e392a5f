"""Integer and binary codes, and the order of their bits."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skperco.codes._fixed_codes import train_binary_code, train_integer_code


def rows_of(n, d, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


@given(st.integers(1, 20), st.integers(0, 9))
def test_bits_are_in_the_order_of_numpy_packbits(d, seed):
    rows = rows_of(5, d, seed)
    n_bytes = -(-d // 8)
    code = train_binary_code(rows, n_bytes, sample_weight=np.ones(5))
    codes = code.encode(torch.from_numpy(rows)).numpy()
    np.testing.assert_array_equal(codes, np.packbits(rows > 0, axis=1))
    decoded = code.decode(torch.from_numpy(codes)).numpy()
    np.testing.assert_array_equal(decoded > 0, rows > 0)


@pytest.mark.parametrize(("n_bits", "per_byte"), [(8, 1), (4, 2)])
@given(st.integers(1, 9), st.integers(0, 9))
def test_integers_are_packed_from_the_low_bits_and_decoded(n_bits, per_byte, d, seed):
    rows = rows_of(6, d, seed)
    n_bytes = -(-d // per_byte)
    code = train_integer_code(rows, n_bytes, n_bits, sample_weight=np.ones(6))
    codes = code.encode(torch.from_numpy(rows)).numpy()
    zero_point = 2 ** (n_bits - 1)
    levels = (rows / code.step.item()).round() + zero_point
    levels = levels.clip(0, 2 * zero_point - 1).astype(int)
    for i, of_row in enumerate(levels):
        for j, level in enumerate(of_row):
            assert codes[i, j // per_byte] >> n_bits * (j % per_byte) & (2**n_bits - 1) == level
    decoded = code.decode(torch.from_numpy(codes)).numpy()
    np.testing.assert_allclose(decoded, (levels - zero_point) * code.step.item(), rtol=1e-6)


def test_the_step_clips_outliers_if_that_reduces_the_error():
    rows = rows_of(2000, 4)
    code = train_integer_code(rows, 2, 4, sample_weight=np.ones(2000))
    assert code.step.item() * 7 < np.abs(rows).max()


def test_rows_of_zeros_have_finite_codes():
    rows = np.zeros((4, 8), dtype=np.float32)
    for code in (
        train_integer_code(rows, 8, 8, sample_weight=np.ones(4)),
        train_binary_code(rows, 1, sample_weight=np.ones(4)),
    ):
        assert code.decode(code.encode(torch.from_numpy(rows))).isfinite().all()
