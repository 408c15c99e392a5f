import numpy as np
import pytest
import references
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import kendalltau

from skperco.metrics._concordance import concordance, pair_counts

PAIRS_OF_ROWS = st.integers(2, 40).flatmap(
    lambda n: hnp.arrays(np.float64, (2, n), elements=st.integers(0, 6).map(float))
)


@given(PAIRS_OF_ROWS)
def test_concordance_agrees_with_the_definition(rows):
    found = concordance(*torch.from_numpy(rows)[:, None])
    np.testing.assert_allclose(found, [references.concordance(*rows)], atol=1e-12)


@given(PAIRS_OF_ROWS, st.data())
def test_weighted_concordance_agrees_with_the_definition(rows, data):
    weights = data.draw(hnp.arrays(np.float64, rows.shape[1], elements=st.floats(0.1, 5)))
    found = concordance(*torch.from_numpy(rows)[:, None], weights=torch.from_numpy(weights))
    np.testing.assert_allclose(found, [references.concordance(*rows, weights)], atol=1e-9)


@pytest.mark.parametrize("n", [2, 64, 65, 5000, 40_000])
def test_concordance_of_long_rows_agrees_with_kendalls_tau(n):
    rng = np.random.default_rng(n)
    teacher = rng.random((2, n))
    student = teacher + rng.random((2, n))
    taus = [kendalltau(*rows).statistic for rows in zip(teacher, student, strict=True)]
    found = concordance(torch.from_numpy(teacher), torch.from_numpy(student))
    np.testing.assert_allclose(found, (1 + np.array(taus)) / 2, atol=1e-12)


@given(PAIRS_OF_ROWS, st.booleans(), st.data())
def test_pair_counts_agree_with_the_definition(rows, weighted, data):
    n = rows.shape[1]
    weights = np.ones(n)
    if weighted:
        weights = data.draw(hnp.arrays(np.float64, n, elements=st.floats(0.1, 5)))
    teacher, student = torch.from_numpy(rows)[:, None]
    (found,) = pair_counts(
        teacher, [student], weights=torch.from_numpy(weights) if weighted else None
    )
    for counts, expected in zip(found, references.pair_counts(*rows, weights), strict=True):
        np.testing.assert_allclose(counts[0], expected, atol=1e-9)


@pytest.mark.parametrize("n", [63, 64, 65, 66, 200, 5000])
@pytest.mark.parametrize("weighted", [False, True])
def test_pair_counts_of_long_rows_agree_with_all_comparisons(n, weighted):
    """Several blocks, the last of which is not full."""
    rng = np.random.default_rng(n)
    teacher, student = rng.integers(0, n // 3, size=(2, n)).astype(float)
    weights = rng.uniform(0.1, 5, size=n) if weighted else np.ones(n)
    ((concordant, strict),) = pair_counts(
        torch.from_numpy(teacher)[None],
        [torch.from_numpy(student)[None]],
        weights=torch.from_numpy(weights) if weighted else None,
    )
    for j in (0, 1, n // 2, n - 1):
        before, after = np.sign(teacher - teacher[j]), np.sign(student - student[j])
        np.testing.assert_allclose(strict[0, j], weights[before != 0].sum())
        expected = (weights * (before != 0) * (1 + before * after) / 2).sum()
        np.testing.assert_allclose(concordant[0, j], expected)


def test_concordance_does_not_depend_on_chunks(monkeypatch):
    rows = torch.from_numpy(np.random.default_rng(0).integers(0, 20, size=(2, 7, 30)) * 1.0)
    whole = concordance(*rows)
    monkeypatch.setattr("skperco.metrics._concordance._ENTRIES_PER_CHUNK", 60)
    np.testing.assert_array_equal(concordance(*rows), whole)
    alone = [concordance(*rows[:, i : i + 1]) for i in range(7)]
    np.testing.assert_array_equal(torch.cat(alone), whole)


def test_values_within_the_relative_tolerance_tie():
    teacher = torch.tensor([[0.0, 1.0, 1.0 + 1e-13, 2.0]], dtype=torch.float64)
    student = torch.tensor([[0.0, 2.0, 1.0, 3.0]], dtype=torch.float64)
    assert concordance(teacher, student, teacher_rtol=1e-12) == 1
    assert concordance(teacher, student) < 1
