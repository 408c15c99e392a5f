import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skperco import (
    perception_coherence_interval,
    perception_coherence_score,
    perception_coherence_test,
)

SEEDS = st.integers(0, 1000)


def draw(seed, n=60, noise=0.5):
    """A teacher and two students with the same coherence in the population."""
    rng = np.random.default_rng(seed)
    teacher = rng.normal(size=(n, 4))
    return teacher, *(teacher[:, :3] + noise * rng.normal(size=(n, 3)) for _ in range(2))


def fraction_and_margin(outcomes):
    """Fraction of true outcomes, and 3.5 standard errors of it if 5 % or 95 % are expected."""
    return np.mean(outcomes), 3.5 * 0.22 / len(outcomes) ** 0.5


def test_statement_9_coverage_of_intervals_and_size_of_tests_are_nominal():
    """A small version of benchmarks/interval_coverage.py."""
    exact = perception_coherence_score(*draw(10**6, n=4000)[:2], metric="euclidean")
    covered, rejected = [], []
    for seed in range(500):
        teacher, student, other = draw(seed)
        interval = perception_coherence_interval(teacher, student, metric="euclidean")
        covered.append(interval.low <= exact <= interval.high)
        test = perception_coherence_test(teacher, student, other, metric="euclidean")
        rejected.append(test.pvalue < 0.05)
    for outcomes, expected in ((covered, 0.95), (rejected, 0.05)):
        found, margin = fraction_and_margin(outcomes)
        assert abs(found - expected) < margin


def test_intervals_include_the_error_of_drawing_anchors_and_references():
    teacher, student, _ = draw(0, n=3000)
    exact = perception_coherence_score(teacher, student, metric="euclidean")
    covered = []
    for state in range(100):
        interval = perception_coherence_interval(
            teacher,
            student,
            metric="euclidean",
            n_anchors=60,
            n_references=90,
            random_state=state,
        )
        covered.append(interval.low <= exact <= interval.high)
    found, margin = fraction_and_margin(covered)
    assert abs(found - 0.95) < margin


@settings(max_examples=10)
@given(SEEDS)
def test_interval_contains_its_score_and_widens_with_the_confidence_level(seed):
    teacher, student, _ = draw(seed)
    narrow, wide = (
        perception_coherence_interval(teacher, student, confidence_level=level)
        for level in (0.5, 0.99)
    )
    assert narrow.score == wide.score
    assert narrow.score == pytest.approx(perception_coherence_score(teacher, student), abs=1e-12)
    assert 0 < wide.low < narrow.low < narrow.score < narrow.high < wide.high < 1


def test_standard_error_decreases_with_the_square_root_of_the_sample_size():
    errors = [perception_coherence_interval(*draw(0, n=n)[:2]).standard_error for n in (100, 1600)]
    # With 16 times as many samples the error is a quarter.
    assert errors[1] == pytest.approx(errors[0] / 4, rel=0.3)


def test_interval_of_a_perfect_score_is_a_point():
    teacher = draw(0)[0]
    assert perception_coherence_interval(teacher, 2 * teacher) == (1, 1, 1, 0)


def test_interval_and_test_are_nan_if_the_teacher_has_only_ties():
    teacher = np.ones((20, 2))
    assert np.isnan(perception_coherence_interval(teacher, draw(0, n=20)[1])).all()
    assert np.isnan(perception_coherence_test(teacher, *draw(0, n=20)[1:])).all()


@settings(max_examples=10)
@given(SEEDS)
def test_difference_and_p_values_are_consistent_with_scores_and_swapped_students(seed):
    teacher, student, other = draw(seed)
    other = other + 0.3 * np.random.default_rng(seed).normal(size=other.shape)
    found = perception_coherence_test(teacher, student, other)
    scores = [perception_coherence_score(teacher, one) for one in (student, other)]
    assert found.difference == pytest.approx(scores[0] - scores[1], abs=1e-12)
    assert found.low < found.difference < found.high
    assert (found.pvalue < 0.05) == (not found.low < 0 < found.high)
    swapped = perception_coherence_test(teacher, other, student)
    assert swapped.pvalue == pytest.approx(found.pvalue, abs=1e-9)
    less, greater = (
        perception_coherence_test(teacher, student, other, alternative=alternative).pvalue
        for alternative in ("less", "greater")
    )
    assert less + greater == pytest.approx(1)
    assert 2 * min(less, greater) == pytest.approx(found.pvalue)


def test_one_sided_alternatives_have_the_right_direction():
    teacher, student, _ = draw(0, noise=0.1)
    _, other, _ = draw(0, noise=1.5)
    better, worse = (
        perception_coherence_test(teacher, student, other, alternative=alternative).pvalue
        for alternative in ("greater", "less")
    )
    assert better < 0.001 < 0.999 < worse


def test_standard_error_of_a_paired_difference_is_less_than_that_of_one_score():
    teacher, student, _ = draw(0, n=200)
    other = student + 0.05 * np.random.default_rng(1).normal(size=student.shape)
    found = perception_coherence_test(teacher, student, other)
    alone = perception_coherence_interval(teacher, student).standard_error
    assert found.standard_error < alone / 2


def test_a_student_and_its_multiple_do_not_differ():
    teacher, student, _ = draw(0)
    found = perception_coherence_test(teacher, student, 3 * student)
    assert (found.difference, found.pvalue) == (0, 1)


def test_teacher_and_both_students_use_their_own_metrics():
    teacher, student, other = draw(0)
    found = perception_coherence_test(
        teacher,
        student,
        other,
        metric="manhattan",
        teacher_metric="euclidean",
        other_metric="cosine",
    )
    scores = [
        perception_coherence_score(teacher, one, metric=metric, teacher_metric="euclidean")
        for one, metric in ((student, "manhattan"), (other, "cosine"))
    ]
    assert found.difference == pytest.approx(scores[0] - scores[1], abs=1e-12)


def test_interval_depends_on_weights_but_not_on_their_common_factor():
    teacher, student, _ = draw(0)
    weights = np.random.default_rng(0).uniform(0, 2, size=60) * (np.arange(60) % 3 > 0)
    found = perception_coherence_interval(teacher, student, sample_weight=weights)
    scaled = perception_coherence_interval(teacher, student, sample_weight=7 * weights)
    kept = weights > 0
    without = perception_coherence_interval(
        teacher[kept], student[kept], sample_weight=weights[kept]
    )
    np.testing.assert_allclose(found, scaled, atol=1e-12)
    np.testing.assert_allclose(found, without, atol=1e-12)
    assert found != perception_coherence_interval(teacher, student)


GOOD = draw(0)
BAD_INPUT = {
    "level": ({"confidence_level": 1}, ValueError, "confidence_level must be between 0 and 1"),
    "type": ({"confidence_level": "95"}, TypeError, "confidence_level must be a number"),
    "tol": ({"tol": -1.0}, ValueError, "tol must be a finite number above 0"),
    "no number": ({"tol": "small"}, TypeError, "tol must be a finite number above 0"),
    "both": ({"tol": 0.1, "n_references": 9}, ValueError, "n_references must be None when tol"),
    "metric": ({"metric": "euclid"}, ValueError, "metric must be one of"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_invalid_options_raise_errors_that_name_them(case):
    options, error, message = BAD_INPUT[case]
    with pytest.raises(error, match=message):
        perception_coherence_interval(*GOOD[:2], **options)
    with pytest.raises(error, match=message):
        perception_coherence_test(*GOOD, **options)


def test_invalid_input_raises_errors_that_name_it():
    with pytest.raises(ValueError, match="alternative must be one of"):
        perception_coherence_test(*GOOD, alternative="larger")
    with pytest.raises(ValueError, match="other_metric must be one of"):
        perception_coherence_test(*GOOD, other_metric="euclid")
    with pytest.raises(ValueError, match="teacher and other must describe the same rows"):
        perception_coherence_test(GOOD[0], GOOD[1], GOOD[2][:5])
    with pytest.raises(ValueError, match="at least 4 samples"):
        perception_coherence_interval(GOOD[0][:3], GOOD[1][:3])
