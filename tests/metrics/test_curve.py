import numpy as np
import pytest
import references
from hypothesis import given, settings
from hypothesis import strategies as st

from skperco import coherence_curve, perception_coherence_score

SEEDS = st.integers(0, 1000)


class FirstRow(np.random.RandomState):
    """Draws the first row first."""

    def permutation(self, n):
        return np.arange(n)


def rows_of(seed, n=31, d=4):
    return np.random.default_rng(seed).normal(size=(n, d))


@settings(max_examples=20)
@given(SEEDS, st.integers(2, 30))
def test_agrees_with_the_definition(seed, n_near):
    teacher, student = rows_of(seed), rows_of(seed + 1, d=2)
    found = coherence_curve(teacher, student, percentiles=[n_near / 30], metric="euclidean")
    tables = [references.table(rows, "euclidean") for rows in (teacher, student)]
    expected = []
    for anchor in range(31):
        near = np.argsort(tables[0][anchor])[1 : n_near + 1]
        expected.append(references.concordance(tables[0][anchor][near], tables[1][anchor][near]))
    assert found.coherences[0] == pytest.approx(np.mean(expected), abs=1e-12)


@settings(max_examples=20)
@given(SEEDS, st.booleans())
def test_ends_at_the_score(seed, weighted):
    teacher, student = np.round(rows_of(seed)), np.round(2 * rows_of(seed + 1))
    weights = np.random.default_rng(seed).uniform(0.5, 2, size=31) if weighted else None
    curve = coherence_curve(teacher, student, metric="euclidean", sample_weight=weights)
    score = perception_coherence_score(teacher, student, metric="euclidean", sample_weight=weights)
    assert curve.percentiles[-1] == 1
    assert curve.coherences[-1] == pytest.approx(score, abs=1e-12)


@settings(max_examples=20)
@given(SEEDS)
def test_the_order_of_the_data_does_not_matter(seed):
    """Also where the border runs through references that the teacher ties."""
    teacher, student = np.round(rows_of(seed)), rows_of(seed + 1)
    order = np.random.default_rng(seed).permutation(31)
    options = {"percentiles": [0.1, 0.33, 0.7], "metric": "euclidean"}
    found = coherence_curve(teacher[order], student[order], **options)
    expected = coherence_curve(teacher, student, **options)
    np.testing.assert_allclose(found.coherences, expected.coherences, atol=1e-12)


def test_ties_at_the_border_share_what_is_left():
    teacher = np.array([[0], [1], [2], [3], [3], [3], [5]])
    student = np.random.default_rng(0).normal(size=(7, 1))
    table = references.table(student, "euclidean")
    # From the first: 1 and 2, and two of the three that are 3 away, are four of six.
    shares = np.array([1, 1, 2 / 3, 2 / 3, 2 / 3, 0])
    expected = references.concordance(teacher[1:, 0], table[0, 1:], shares)
    found = coherence_curve(
        teacher,
        student,
        percentiles=[4 / 6],
        metric="euclidean",
        n_anchors=1,
        random_state=FirstRow(),
    )
    assert found.coherences[0] == pytest.approx(expected)


def test_weights_count_references_so_many_times():
    teacher, student = rows_of(0, n=200), rows_of(0, n=200)[:, :2]
    weights = np.where(np.arange(200) < 150, 1.0, 1e-9)
    options = {"percentiles": [0.2, 0.6], "metric": "euclidean"}
    found = coherence_curve(teacher, student, sample_weight=weights, **options)
    without = coherence_curve(teacher[:150], student[:150], **options)
    np.testing.assert_allclose(found.coherences, without.coherences, atol=0.01)


def test_local_and_global_agreement_are_told_apart():
    rng = np.random.default_rng(0)
    centers = 20 * rng.normal(size=(10, 5))
    labels = rng.integers(10, size=500)
    teacher = centers[labels] + rng.normal(size=(500, 5))
    only_far = centers[labels] + rng.normal(size=(500, 5))
    only_near = 20 * rng.normal(size=(10, 5))[labels] + (teacher - centers[labels])
    options = {"percentiles": [0.04, 1.0], "metric": "euclidean"}
    near, all_of_them = coherence_curve(teacher, only_far, **options).coherences
    assert near < 0.6 < 0.9 < all_of_them
    near, all_of_them = coherence_curve(teacher, only_near, **options).coherences
    assert all_of_them < 0.7 < 0.9 < near


def test_default_percentiles_reach_from_ten_references_to_all():
    curve = coherence_curve(rows_of(0, n=400), rows_of(1, n=400))
    assert curve.percentiles[0] == pytest.approx(10 / 400)
    ratios = curve.percentiles[1:] / curve.percentiles[:-1]
    np.testing.assert_allclose(ratios, ratios[0])


def test_workers_do_not_show(monkeypatch):
    monkeypatch.setattr("skperco.metrics._anchor_blocks._ENTRIES_PER_BLOCK", 300)
    alone = coherence_curve(rows_of(0), rows_of(1))
    together = coherence_curve(rows_of(0), rows_of(1), n_jobs=2)
    np.testing.assert_array_equal(alone.coherences, together.coherences)


@pytest.mark.parametrize("percentiles", [[0.0, 1.0], [1.5], [[0.5]], [np.nan], ["near"]])
def test_bad_percentiles_are_named(percentiles):
    with pytest.raises(ValueError, match=r"percentiles|could not convert"):
        coherence_curve(rows_of(0), rows_of(1), percentiles=percentiles)
