import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skperco import perception_coherence_score
from skperco.metrics._jackknife import Estimates, estimate, estimate_within
from skperco.metrics._representations import Representations

SEEDS = st.integers(0, 1000)


def data(seed, n, kind):
    rng = np.random.default_rng(seed)
    teacher = rng.normal(size=(n, 3))
    student = teacher[:, :2] + rng.normal(size=(n, 2)) / 2
    if kind != "plain":
        teacher, student = np.round(teacher), np.round(student)
    weights = rng.uniform(0.5, 2, size=n) if kind == "weighted" else np.ones(n)
    return teacher, student, weights


def representations_of(teacher, *students, weights=None):
    names = ["teacher", "student", "other"]
    rows = zip(names, [teacher, *students], strict=False)
    return Representations({name: (one, "euclidean") for name, one in rows}, weights, "cpu")


@settings(max_examples=20)
@given(SEEDS, st.sampled_from([12, 70, 140]), st.sampled_from(["plain", "ties", "weighted"]))
def test_left_out_scores_agree_with_scores_of_the_other_samples(seed, n, kind):
    teacher, student, weights = data(seed, n, kind)
    samples = np.arange(n)
    found = estimate(representations_of(teacher, student, weights=weights), samples, samples)

    def score(kept):
        return perception_coherence_score(
            teacher[kept], student[kept], metric="euclidean", sample_weight=weights[kept]
        )

    np.testing.assert_allclose(found.scores, [score(samples)], atol=1e-12)
    for left_out in {0, 1, n // 2, n - 1}:
        expected = score(np.delete(samples, left_out))
        assert found.left_out[0, left_out] == pytest.approx(expected, abs=1e-12)


def test_samples_are_left_out_both_as_anchors_and_as_references():
    teacher, student, _ = data(0, 60, "plain")
    representations = representations_of(teacher, student)
    anchors, references = np.arange(0, 30), np.arange(20, 60)
    found = estimate(representations, anchors, references)
    for left_out in (5, 25, 45):
        without = estimate(
            representations, anchors[anchors != left_out], references[references != left_out]
        )
        assert found.left_out[0, left_out] == pytest.approx(without.scores[0], abs=1e-12)


def test_estimates_of_several_students_are_those_of_each_alone():
    teacher, student, _ = data(0, 60, "plain")
    other = teacher[:, 2:]
    samples = np.arange(60)
    both = estimate(representations_of(teacher, student, other), samples, samples)
    for index, one in enumerate([student, other]):
        alone = estimate(representations_of(teacher, one), samples, samples)
        np.testing.assert_array_equal(both.left_out[index], alone.left_out[0])


def test_jackknife_standard_error_of_a_mean_is_the_textbook_formula():
    values = np.random.default_rng(0).normal(size=40)
    left_out = (values.sum() - values) / 39
    found = Estimates(np.array([values.mean()]), left_out[None]).standard_error([1])
    assert found == pytest.approx(values.std(ddof=1) / 40**0.5)


def test_a_tolerance_that_cannot_be_met_draws_all_samples():
    teacher, student, _ = data(0, 1200, "plain")
    representations = representations_of(teacher, student)
    found = estimate_within(representations, 1e-9, [1], np.random.RandomState(0))
    assert found.left_out.shape == (1, 1200)
    samples = np.arange(1200)
    assert found.scores == pytest.approx(
        estimate(representations, samples, samples).scores, abs=1e-12
    )
