import numpy as np
import pytest
import references
from hypothesis import given, settings
from hypothesis import strategies as st

from skperco import coherence_curve, perception_coherence_score

SEEDS = st.integers(0, 1000)


class IdentityPermutation(np.random.RandomState):
    """Draws rows in their order."""

    def permutation(self, n):
        return np.arange(n)


def rows_of(seed, n=31, d=4):
    return np.random.default_rng(seed).normal(size=(n, d))


@settings(max_examples=20)
@given(SEEDS, st.integers(2, 30))
def test_curve_agrees_with_the_definition(seed, n_near):
    teacher, student = rows_of(seed), rows_of(seed + 1, d=2)
    found = coherence_curve(teacher, student, percentiles=[n_near / 30], metric="euclidean")
    matrices = [references.table(rows, "euclidean") for rows in (teacher, student)]
    expected = []
    for anchor in range(31):
        near = np.argsort(matrices[0][anchor])[1 : n_near + 1]
        expected.append(references.concordance(*(matrix[anchor][near] for matrix in matrices)))
    assert found.coherences[0] == pytest.approx(np.mean(expected), abs=1e-12)


@settings(max_examples=20)
@given(SEEDS, st.booleans())
def test_curve_ends_at_the_score(seed, weighted):
    teacher, student = np.round(rows_of(seed)), np.round(2 * rows_of(seed + 1))
    weights = np.random.default_rng(seed).uniform(0.5, 2, size=31) if weighted else None
    curve = coherence_curve(teacher, student, metric="euclidean", sample_weight=weights)
    score = perception_coherence_score(teacher, student, metric="euclidean", sample_weight=weights)
    assert curve.percentiles[-1] == 1
    assert curve.coherences[-1] == pytest.approx(score, abs=1e-12)


@settings(max_examples=20)
@given(SEEDS)
def test_curve_does_not_depend_on_the_order_of_the_rows(seed):
    """Not even where the teacher ties references at the boundary."""
    teacher, student = np.round(rows_of(seed)), rows_of(seed + 1)
    order = np.random.default_rng(seed).permutation(31)
    options = {"percentiles": [0.1, 0.33, 0.7], "metric": "euclidean"}
    found = coherence_curve(teacher[order], student[order], **options)
    expected = coherence_curve(teacher, student, **options)
    np.testing.assert_allclose(found.coherences, expected.coherences, atol=1e-12)


def test_ties_at_the_boundary_share_the_remaining_positions():
    teacher = np.array([[0], [1], [2], [3], [3], [3], [5]])
    student = np.random.default_rng(0).normal(size=(7, 1))
    matrix = references.table(student, "euclidean")
    # Four of six references of the first row: those at 1 and 2, and two of the three at 3.
    shares = np.array([1, 1, 2 / 3, 2 / 3, 2 / 3, 0])
    expected = references.concordance(teacher[1:, 0], matrix[0, 1:], shares)
    found = coherence_curve(
        teacher,
        student,
        percentiles=[4 / 6],
        metric="euclidean",
        n_anchors=1,
        random_state=IdentityPermutation(),
    )
    assert found.coherences[0] == pytest.approx(expected)


def test_references_of_negligible_weight_do_not_change_the_curve():
    teacher, student = rows_of(0, n=200), rows_of(0, n=200)[:, :2]
    weights = np.where(np.arange(200) < 150, 1.0, 1e-9)
    options = {"percentiles": [0.2, 0.6], "metric": "euclidean"}
    found = coherence_curve(teacher, student, sample_weight=weights, **options)
    without = coherence_curve(teacher[:150], student[:150], **options)
    np.testing.assert_allclose(found.coherences, without.coherences, atol=0.01)


def test_curve_distinguishes_local_from_global_agreement():
    rng = np.random.default_rng(0)
    centers = 20 * rng.normal(size=(10, 5))
    labels = rng.integers(10, size=500)
    teacher = centers[labels] + rng.normal(size=(500, 5))
    global_only = centers[labels] + rng.normal(size=(500, 5))
    local_only = 20 * rng.normal(size=(10, 5))[labels] + (teacher - centers[labels])
    options = {"percentiles": [0.04, 1.0], "metric": "euclidean"}
    nearest, whole = coherence_curve(teacher, global_only, **options).coherences
    assert nearest < 0.6 < 0.9 < whole
    nearest, whole = coherence_curve(teacher, local_only, **options).coherences
    assert whole < 0.7 < 0.9 < nearest


def test_default_percentiles_are_a_geometric_progression_from_ten_references_to_all():
    curve = coherence_curve(rows_of(0, n=400), rows_of(1, n=400))
    assert curve.percentiles[0] == pytest.approx(10 / 400)
    ratios = curve.percentiles[1:] / curve.percentiles[:-1]
    np.testing.assert_allclose(ratios, ratios[0])


def test_curve_does_not_depend_on_n_jobs(monkeypatch):
    monkeypatch.setattr("skperco.metrics._representations._ENTRIES_PER_BLOCK", 300)
    alone = coherence_curve(rows_of(0), rows_of(1))
    together = coherence_curve(rows_of(0), rows_of(1), n_jobs=2)
    np.testing.assert_array_equal(alone.coherences, together.coherences)


@pytest.mark.parametrize("percentiles", [[0.0, 1.0], [1.5], [[0.5]], [np.nan], ["near"]])
def test_invalid_percentiles_raise_errors_that_name_them(percentiles):
    with pytest.raises(ValueError, match=r"percentiles|could not convert"):
        coherence_curve(rows_of(0), rows_of(1), percentiles=percentiles)
