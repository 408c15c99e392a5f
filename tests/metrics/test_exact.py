"""Scores of integer data with ties and weights, compared with rational arithmetic."""

import warnings
from fractions import Fraction

import numpy as np
import pytest
import references
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import UndefinedMetricWarning

from skperco import (
    coherence_curve,
    neighbor_recall_score,
    pairwise_perception_coherence,
    perception_coherence_interval,
    perception_coherence_samples,
    perception_coherence_score,
)

PERCENTILES = (0.05, 0.3, 0.5, 0.8, 1.0)


@st.composite
def problems(draw):
    """Integer rows of a teacher and a student, and integer weights, some of them zero."""
    n = draw(st.integers(4, 9))
    entries = st.integers(0, draw(st.integers(1, 4)))
    rows = [
        np.array(draw(st.lists(st.lists(entries, min_size=d, max_size=d), min_size=n, max_size=n)))
        for d in (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
    ]
    weights = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    weights[:4] = [max(1, weight) for weight in weights[:4]]
    if draw(st.booleans()):
        weights = [1] * n
    order = draw(st.permutations(range(n)))
    return *rows, np.array(weights), np.array(order)


METRICS = ("euclidean", "sqeuclidean", "manhattan", "precomputed")


def scores(teacher, student, weights, metric):
    """Every score, and the scores of every sample."""
    options = {"metric": metric, "sample_weight": weights}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        values = {
            "score": perception_coherence_score(teacher, student, **options),
            "interval": perception_coherence_interval(teacher, student, **options).score,
            "curve": coherence_curve(
                teacher, student, percentiles=PERCENTILES, **options
            ).coherences,
            "matrix": pairwise_perception_coherence([teacher, student], **options),
            "recall": [
                neighbor_recall_score(teacher, student, n_neighbors=k, **options) for k in (1, 2, 3)
            ],
        }
    return values, perception_coherence_samples(teacher, student, **options)


def exact_scores(teacher, student, weights):
    """The same from dissimilarity matrices of integers, in rational arithmetic."""
    kept = np.flatnonzero(weights)
    fractions = [Fraction(int(weight)) for weight in weights[kept]]
    matrices = [matrix[np.ix_(kept, kept)] for matrix in (teacher, student)]
    samples = references.exact_samples(*matrices, fractions)
    score = references.exact_mean(samples, fractions)
    of_all = np.full(len(weights), np.nan)
    of_all[kept] = [np.nan if sample is None else float(sample) for sample in samples]

    def coherence(first, second, percentile=1.0):
        at_anchors = references.exact_samples(first, second, fractions, percentile)
        return references.exact_mean(at_anchors, fractions)

    values = {
        "score": score,
        "interval": score,
        "curve": [coherence(*matrices, percentile) for percentile in PERCENTILES],
        "matrix": [[coherence(first, second) for second in matrices] for first in matrices],
        "recall": [references.exact_recall(*matrices, fractions, k) for k in (1, 2, 3)],
    }
    return values, of_all


def assert_exact(problem, metric):
    teacher, student, weights, order = problem
    matrices = [references.exact_table(rows, metric) for rows in (teacher, student)]
    given = [rows.astype(float) for rows in (matrices if metric == "precomputed" else problem[:2])]
    expected, expected_samples = exact_scores(*matrices, weights)
    permuted = [rows[order] for rows in given]
    if metric == "precomputed":
        permuted = [matrix[:, order] for matrix in permuted]
    for rows, indices in ((given, np.arange(len(order))), (permuted, order)):
        found, samples = scores(*rows, weights[indices], metric)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-10, err_msg=name)
        np.testing.assert_allclose(samples, expected_samples[indices], rtol=0, atol=1e-10)


@pytest.mark.parametrize("metric", METRICS)
@given(problems())
@settings(max_examples=15)
def test_scores_equal_rational_arithmetic_in_any_order_of_the_rows(metric, problem):
    assert_exact(problem, metric)


@pytest.mark.slow
@pytest.mark.parametrize("metric", METRICS)
@given(problems())
@settings(max_examples=500)
def test_scores_equal_rational_arithmetic_on_two_thousand_problems(metric, problem):
    assert_exact(problem, metric)
