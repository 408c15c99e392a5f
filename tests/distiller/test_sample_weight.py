"""Weights of samples."""

import numpy as np
import pytest
from builders import small


@pytest.mark.parametrize("kind", ["compression", "transfer"])
def test_a_common_factor_of_the_weights_has_no_effect(rows, new_rows, kind):
    teacher = None if kind == "compression" else new_rows[:300]
    weights = np.random.default_rng(0).integers(1, 4, size=300)
    found, expected = (
        small().fit(rows, teacher, sample_weight=factor * weights).transform(new_rows)
        for factor in (4, 1)
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)
    even = small().fit(rows, teacher).transform(new_rows)
    assert not np.allclose(found, even, atol=1e-2)
    equal = small().fit(rows, teacher, sample_weight=np.full(300, 2.0)).transform(new_rows)
    np.testing.assert_allclose(equal, even, atol=1e-5)


@pytest.mark.parametrize("kind", ["compression", "transfer", "precomputed"])
def test_a_weight_of_zero_equals_leaving_the_row_out(rows, new_rows, kind):
    # The rows left out come last, so that the same random numbers are drawn with and without them.
    kept = 250
    teacher, teacher_kept = None, None
    if kind == "transfer":
        teacher = new_rows[:300]
        teacher_kept = teacher[:kept]
    if kind == "precomputed":
        teacher = np.maximum(1 - new_rows[:300] @ new_rows[:300].T, 0)
        teacher_kept = teacher[:kept, :kept]
    metrics = {"teacher_metric": "precomputed" if kind == "precomputed" else None}
    weights = np.where(np.arange(300) < kept, np.arange(300) % 3 + 1.0, 0)
    found = small(**metrics).fit(rows, teacher, sample_weight=weights)
    without = small(**metrics).fit(rows[:kept], teacher_kept, sample_weight=weights[:kept])
    np.testing.assert_array_equal(found.transform(new_rows), without.transform(new_rows))
