import numpy as np
import pytest
import references
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import kendalltau

from skperco.concordance import concordance

PAIRS_OF_ROWS = st.integers(2, 40).flatmap(
    lambda n: hnp.arrays(np.float64, (2, n), elements=st.integers(0, 6).map(float))
)


@given(PAIRS_OF_ROWS)
def test_agrees_with_the_definition(rows):
    found = concordance(*torch.from_numpy(rows)[:, None])
    np.testing.assert_allclose(found, [references.concordance(*rows)], atol=1e-12)


@given(PAIRS_OF_ROWS, st.data())
def test_agrees_with_the_weighted_definition(rows, data):
    weights = data.draw(hnp.arrays(np.float64, rows.shape[1], elements=st.floats(0.1, 5)))
    found = concordance(*torch.from_numpy(rows)[:, None], weights=torch.from_numpy(weights))
    np.testing.assert_allclose(found, [references.concordance(*rows, weights)], atol=1e-9)


@pytest.mark.parametrize("n", [2, 64, 65, 5000, 40_000])
def test_agrees_with_kendall_tau_on_long_rows(n):
    rng = np.random.default_rng(n)
    teacher = rng.random((2, n))
    student = teacher + rng.random((2, n))
    taus = [kendalltau(*rows).statistic for rows in zip(teacher, student, strict=True)]
    found = concordance(torch.from_numpy(teacher), torch.from_numpy(student))
    np.testing.assert_allclose(found, (1 + np.array(taus)) / 2, atol=1e-12)


def test_near_values_tie_within_the_tolerance():
    teacher = torch.tensor([[0.0, 1.0, 1.0 + 1e-13, 2.0]], dtype=torch.float64)
    student = torch.tensor([[0.0, 2.0, 1.0, 3.0]], dtype=torch.float64)
    assert concordance(teacher, student, teacher_rtol=1e-12) == 1
    assert concordance(teacher, student) < 1
