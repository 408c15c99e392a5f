import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skperco import pairwise_perception_coherence, perception_coherence_score

SEEDS = st.integers(0, 1000)


def rows_of(seed, n=30, d=4):
    return np.random.default_rng(seed).normal(size=(n, d))


@settings(max_examples=20)
@given(SEEDS, st.booleans())
def test_entries_of_the_matrix_are_scores(seed, weighted):
    models = {"a": rows_of(seed), "b": np.round(rows_of(seed, d=3)), "c": rows_of(seed + 1)}
    weights = np.random.default_rng(seed).uniform(0.5, 2, size=30) if weighted else None
    options = {"metric": "euclidean", "sample_weight": weights}
    found = pairwise_perception_coherence(models, **options)
    expected = [
        [perception_coherence_score(teacher, student, **options) for student in models.values()]
        for teacher in models.values()
    ]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_matrix_is_permuted_with_the_representations():
    models = [rows_of(seed) for seed in range(4)]
    order = [2, 0, 3, 1]
    found = pairwise_perception_coherence([models[i] for i in order])
    np.testing.assert_allclose(found, pairwise_perception_coherence(models)[np.ix_(order, order)])


@pytest.mark.parametrize("metric", [["euclidean", "cosine"], {"b": "cosine", "a": "euclidean"}])
def test_each_representation_uses_its_own_metric(metric):
    models = {"a": rows_of(0), "b": rows_of(1)}
    given = models if isinstance(metric, dict) else list(models.values())
    found = pairwise_perception_coherence(given, metric=metric)
    expected = perception_coherence_score(
        *models.values(), metric="cosine", teacher_metric="euclidean"
    )
    assert found[0, 1] == pytest.approx(expected, abs=1e-12)
    assert found.diagonal() == pytest.approx(1)


def test_row_of_a_representation_with_only_ties_is_nan():
    found = pairwise_perception_coherence([np.ones((30, 2)), rows_of(0)])
    assert np.isnan(found[0]).all()
    assert found[1] == pytest.approx([0.5, 1])


def test_entries_of_the_matrix_are_the_sampled_scores_for_any_n_jobs(monkeypatch):
    models = [rows_of(0, n=500), rows_of(0, n=500)[:, :2]]
    options = {"n_anchors": 50, "n_references": 80}
    found = pairwise_perception_coherence(models, **options)
    expected = perception_coherence_score(*models, **options)
    assert found[0, 1] == pytest.approx(expected, abs=1e-12)
    monkeypatch.setattr("skperco.metrics._representations._ENTRIES_PER_BLOCK", 1000)
    parallel = pairwise_perception_coherence(models, n_jobs=2, **options)
    np.testing.assert_allclose(parallel, found, atol=1e-12)


GOOD = rows_of(0)


@pytest.mark.parametrize(
    ("representations", "metric", "message"),
    [
        ([GOOD], "cosine", "expected at least 2 representations, got 1"),
        ([GOOD, GOOD[:9]], "cosine", r"representations\[0\] and representations\[1\] must"),
        ({"a": GOOD, "b": GOOD[:9]}, "cosine", "a and b must describe the same rows"),
        ([GOOD, GOOD], ["cosine"], "metric must be one dissimilarity, or one for each"),
        ({"a": GOOD, "b": GOOD}, {"a": "cosine"}, "metric must be one dissimilarity"),
        ([GOOD, GOOD], "euclid", "metric must be one of"),
        ({"a": GOOD, "b": np.where(GOOD > 1, np.nan, GOOD)}, "cosine", "b contains NaN"),
    ],
)
def test_invalid_input_raises_errors_that_name_it(representations, metric, message):
    with pytest.raises(ValueError, match=message):
        pairwise_perception_coherence(representations, metric=metric)
