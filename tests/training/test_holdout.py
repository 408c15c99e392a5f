import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skperco import neighbor_recall_score, perception_coherence_score
from skperco.dissimilarity._table import dissimilarity_table
from skperco.training._holdout import HoldoutScorer, HoldoutScores, last_acceptable

FRACTIONS = st.floats(0, 1)
TOL = 5e-4
SCORES = st.builds(
    HoldoutScores,
    hnp.arrays(np.float64, 6, elements=FRACTIONS),
    hnp.arrays(np.float64, 6, elements=FRACTIONS),
    st.just(np.array([1.0, 2.0, 0.5, 1.0, 3.0, 1.0])),
)


def embeddings(seed, n=30, d=4):
    return np.random.default_rng(seed).normal(size=(n, d))


def uniform(coherence, recall, n=6):
    return HoldoutScores(np.full(n, coherence), np.full(n, recall), np.ones(n))


@given(
    st.integers(0, 1000),
    st.sampled_from(["cosine", "euclidean", "manhattan"]),
    st.sampled_from(["cosine", "correlation", "euclidean"]),
    st.booleans(),
)
def test_holdout_scores_equal_the_public_scores(seed, metric, teacher_metric, weighted):
    teacher, embedded = embeddings(seed), embeddings(seed + 1, d=2)
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.5, 2, size=30) if weighted else np.ones(30)
    scores = HoldoutScorer(
        dissimilarity_table(teacher, teacher_metric, device="cpu"), metric, weights, 1
    )(embedded)
    options = {"metric": metric, "teacher_metric": teacher_metric, "sample_weight": weights}
    coherence = perception_coherence_score(teacher, embedded, **options)
    assert scores.coherence == pytest.approx(coherence, abs=1e-12)
    recall = neighbor_recall_score(teacher, embedded, n_neighbors=1, **options)
    assert scores.recall == pytest.approx(recall, abs=1e-12)


@pytest.mark.parametrize("weighted", [True, False])
def test_holdout_scores_do_not_depend_on_the_block_size(weighted, monkeypatch):
    teacher, embedded = embeddings(0), embeddings(1, d=2)
    weights = np.arange(1.0, 31) if weighted else np.ones(30)
    table = dissimilarity_table(teacher, "cosine", device="cpu")
    whole = HoldoutScorer(table, "cosine", weights, 3)(embedded)
    monkeypatch.setattr("skperco.metrics._concordance._ENTRIES_PER_CHUNK", 7 * 29)
    scorer = HoldoutScorer(table, "cosine", weights, 3)
    assert len(scorer.blocks) == 5
    np.testing.assert_allclose(scorer(embedded).coherences, whole.coherences, atol=1e-12)
    np.testing.assert_array_equal(scorer(embedded).recalls, whole.recalls)


def test_recall_of_two_rows_is_one():
    rows = embeddings(0, n=2)
    scores = HoldoutScorer(
        dissimilarity_table(rows, "cosine", device="cpu"), "cosine", np.ones(2), 1
    )(rows)
    assert scores.recall == 1


def test_a_constant_student_scores_chance():
    scores = HoldoutScorer(torch.from_numpy(np.abs(embeddings(0, d=30))), "cosine", np.ones(30), 1)(
        np.ones((30, 2))
    )
    assert scores.coherence == 0.5
    assert scores.recall == pytest.approx(1 / 29)


def test_rows_with_only_ties_are_left_out_of_the_mean():
    coherences = np.array([0.6, np.nan, 0.8])
    assert HoldoutScores(coherences, np.ones(3), np.array([1, 5, 3])).coherence == pytest.approx(
        0.75
    )
    assert np.isnan(HoldoutScores(np.full(3, np.nan), np.ones(3), np.ones(3)).coherence)


@given(SCORES, FRACTIONS)
def test_rank_power_weights_coherence_against_recall(scores, power):
    assert scores.criterion(1) == pytest.approx(scores.coherence)
    assert scores.criterion(0) == pytest.approx(scores.recall)
    between = sorted([scores.coherence, scores.recall])
    assert between[0] - 1e-12 <= scores.criterion(power) <= between[1] + 1e-12


@given(SCORES, FRACTIONS)
def test_scores_are_accepted_against_themselves(scores, power):
    assert scores.keeps(scores, power, TOL)
    assert scores.matches(scores, power)


@pytest.mark.parametrize(("power", "kept"), [(0, False), (0.3, False), (0.5, False), (0.6, True)])
def test_recall_must_not_fall_if_rank_power_is_at_most_one_half(power, kept):
    assert uniform(0.9, 0.5).keeps(uniform(0.6, 0.6), power, TOL) == kept


@pytest.mark.parametrize(("power", "kept"), [(0, True), (0.3, True), (0.5, False), (1, False)])
def test_coherence_may_fall_if_rank_power_is_below_one_half(power, kept):
    assert uniform(0.6, 0.9).keeps(uniform(0.7, 0.6), power, TOL) == kept


def scores_lowered_by(errors, side):
    """Scores before and after a change whose mean is `errors` standard errors below 0."""
    change = np.array([1.0, -1.0] * 8) / 8
    change -= errors * np.std(change) / len(change) ** 0.5
    before = uniform(0.5, 0.5, n=16)
    return before, before._replace(**{side: 0.5 + change})


@pytest.mark.parametrize(("lost", "allowed"), [(0.0004, True), (0.0006, False)])
def test_coherence_may_fall_by_the_tolerance(lost, allowed):
    before, after = uniform(0.8, 0.5), uniform(0.8 - lost, 0.5)
    assert [after.keeps(before, power, TOL) for power in (0.4, 0.5, 1)] == [True, allowed, allowed]


@pytest.mark.parametrize(("errors", "allowed"), [(1.8, True), (2.2, False)])
def test_recall_may_fall_by_two_standard_errors(errors, allowed):
    before, after = scores_lowered_by(errors, "recalls")
    assert [after.keeps(before, power, TOL) for power in (0, 0.5, 0.6)] == [allowed, allowed, True]


@pytest.mark.parametrize(("errors", "allowed"), [(0.8, True), (1.2, False)])
@pytest.mark.parametrize(("side", "power"), [("recalls", 0), ("coherences", 1)])
def test_the_weighted_score_may_fall_by_one_standard_error(errors, allowed, side, power):
    before, after = scores_lowered_by(errors, side)
    assert after.matches(before, power) == allowed


@pytest.mark.parametrize(("errors", "allowed"), [(1.8, True), (2.2, False)])
@pytest.mark.parametrize("factor", [1, 1e-3, 40])
def test_standard_errors_depend_on_weights_but_not_on_their_common_factor(errors, allowed, factor):
    before, after = scores_lowered_by(errors, "recalls")
    negligible = uniform(0.5, 0.5, n=16)._replace(recalls=np.tile([0.0, 1.0], 8))
    weights = factor * np.repeat([1, 1e-9], 16)
    before, after = (
        HoldoutScores(
            *(np.concatenate(both) for both in zip(one[:2], other[:2], strict=True)), weights
        )
        for one, other in ((before, uniform(0.5, 0.5, n=16)), (after, negligible))
    )
    assert after.keeps(before, 0, TOL) == allowed


@pytest.mark.parametrize(
    ("coherences", "chosen"),
    [
        ([0.5, 0.6, 0.7], 2),
        ([0.5, 0.7, 0.6], 1),
        ([0.5, 0.7, 0.7], 2),
        ([0.5, 0.5, 0.5], 2),
        ([0.5, 0.4, 0.3], 0),
        ([0.5, 0.4, 0.6], 2),
    ],
)
def test_the_largest_fraction_within_one_standard_error_is_selected(coherences, chosen):
    assert last_acceptable([uniform(coherence, 0.5) for coherence in coherences], 1, TOL) == chosen


@pytest.mark.parametrize(("power", "chosen"), [(0.4, 3), (0.5, 2), (0.9, 2)])
def test_the_selected_fraction_is_within_the_tolerance_of_the_maximum_coherence(power, chosen):
    coherences = [0.5, 0.508, 0.506, 0.504]
    recalls = [0.5, 0.6, 0.7, 0.9]
    scores = [uniform(*both) for both in zip(coherences, recalls, strict=True)]
    assert last_acceptable(scores, power, TOL) == chosen


@given(st.lists(SCORES, min_size=1, max_size=5), FRACTIONS)
def test_the_selected_fraction_is_accepted_against_the_initialization(scores, power):
    assert scores[last_acceptable(scores, power, TOL)].keeps(scores[0], power, TOL)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("power", [0, 0.3, 0.5, 1])
def test_fraction_zero_is_selected_if_the_teacher_has_only_ties(power):
    assert last_acceptable([uniform(np.nan, 0.5) for _ in range(3)], power, TOL) == 0
