import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skperco.ranking._sorting import sort_rows


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
