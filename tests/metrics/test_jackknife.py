import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skperco import perception_coherence_score
from skperco.metrics._anchor_blocks import Views
from skperco.metrics._jackknife import Estimates, estimate, estimate_within

SEEDS = st.integers(0, 1000)


def data(seed, n, kind):
    rng = np.random.default_rng(seed)
    teacher = rng.normal(size=(n, 3))
    student = teacher[:, :2] + rng.normal(size=(n, 2)) / 2
    if kind != "plain":
        teacher, student = np.round(teacher), np.round(student)
    weights = rng.uniform(0.5, 2, size=n) if kind == "weighted" else np.ones(n)
    return teacher, student, weights


def views_of(teacher, *students, weights=None):
    names = ["teacher", "student", "other"]
    rows = zip(names, [teacher, *students], strict=False)
    return Views({name: (one, "euclidean") for name, one in rows}, weights, "cpu")


@settings(max_examples=20)
@given(SEEDS, st.sampled_from([12, 70, 140]), st.sampled_from(["plain", "ties", "weighted"]))
def test_what_is_left_out_is_the_score_without_it(seed, n, kind):
    teacher, student, weights = data(seed, n, kind)
    everyone = np.arange(n)
    found = estimate(views_of(teacher, student, weights=weights), everyone, everyone)

    def score(kept):
        return perception_coherence_score(
            teacher[kept], student[kept], metric="euclidean", sample_weight=weights[kept]
        )

    np.testing.assert_allclose(found.scores, [score(everyone)], atol=1e-12)
    for left_out in {0, 1, n // 2, n - 1}:
        expected = score(np.delete(everyone, left_out))
        assert found.left_out[0, left_out] == pytest.approx(expected, abs=1e-12)


def test_drawn_anchors_and_references_are_left_out_of_both():
    teacher, student, _ = data(0, 60, "plain")
    views = views_of(teacher, student)
    anchors, references = np.arange(0, 30), np.arange(20, 60)
    found = estimate(views, anchors, references)
    for left_out in (5, 25, 45):
        without = estimate(views, anchors[anchors != left_out], references[references != left_out])
        assert found.left_out[0, left_out] == pytest.approx(without.scores[0], abs=1e-12)


def test_students_are_estimated_as_if_they_were_alone():
    teacher, student, _ = data(0, 60, "plain")
    other = teacher[:, 2:]
    everyone = np.arange(60)
    both = estimate(views_of(teacher, student, other), everyone, everyone)
    for number, one in enumerate([student, other]):
        alone = estimate(views_of(teacher, one), everyone, everyone)
        np.testing.assert_array_equal(both.left_out[number], alone.left_out[0])


def test_the_standard_error_is_that_of_a_mean_for_a_mean():
    """Of plain means, the jackknife gives the textbook's standard error."""
    values = np.random.default_rng(0).normal(size=40)
    left_out = (values.sum() - values) / 39
    found = Estimates(np.array([values.mean()]), left_out[None]).standard_error([1])
    assert found == pytest.approx(values.std(ddof=1) / 40**0.5)


def test_a_tolerance_that_cannot_be_met_draws_everybody():
    teacher, student, _ = data(0, 1200, "plain")
    views = views_of(teacher, student)
    found = estimate_within(views, 1e-9, [1], np.random.RandomState(0))
    assert found.left_out.shape == (1, 1200)
    everyone = np.arange(1200)
    assert found.scores == pytest.approx(estimate(views, everyone, everyone).scores, abs=1e-12)
