import numpy as np
import pytest
import references
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib import parallel_config
from scipy.stats import kendalltau
from sklearn.exceptions import UndefinedMetricWarning

from skperco import (
    neighbor_recall_score,
    percentile_rank,
    perception_coherence_interval,
    perception_coherence_samples,
    perception_coherence_score,
)

METRICS = ["cosine", "correlation", "euclidean", "manhattan", "sqeuclidean"]
SEEDS = st.integers(0, 10_000)


def embeddings(seed, n=30, d=6):
    return np.random.default_rng(seed).normal(size=(n, d))


def grid(seed, n=20, d=2):
    """Integer-valued rows: many equal dissimilarities."""
    return np.random.default_rng(seed).integers(0, 3, size=(n, d)).astype(float)


def rotation(seed, d):
    return np.linalg.qr(embeddings(seed, n=d, d=d))[0]


def matrix_of(rows, metric="euclidean"):
    return references.table(rows, metric)


def coherence_of_matrices(teacher, student, **kwargs):
    return perception_coherence_score(teacher, student, metric="precomputed", **kwargs)


@given(SEEDS, st.sampled_from(METRICS))
def test_score_agrees_with_the_definition(seed, metric):
    teacher, student = embeddings(seed), embeddings(seed + 1, d=3)
    found = perception_coherence_score(teacher, student, metric=metric)
    expected = references.perception_coherence(
        matrix_of(teacher, metric), matrix_of(student, metric)
    )
    assert found == pytest.approx(expected, abs=1e-12)


@given(SEEDS)
def test_score_with_ties_and_weights_agrees_with_the_definition(seed):
    squares = [matrix_of(grid(seed + side), "sqeuclidean") for side in (0, 1)]
    weights = np.random.default_rng(seed).integers(0, 3, size=20).astype(float)
    weights[:3] = 1
    expected = references.perception_coherence(*squares, weights)
    found = perception_coherence_score(
        grid(seed), grid(seed + 1), metric="euclidean", sample_weight=weights
    )
    assert found == pytest.approx(expected, abs=1e-12)


@given(SEEDS)
def test_statement_1_range_identity_chance_and_reversal(seed):
    teacher, student = matrix_of(embeddings(seed)), matrix_of(grid(seed, n=30))
    score = coherence_of_matrices(teacher, student)
    assert 0 <= score <= 1
    assert coherence_of_matrices(teacher, teacher) == 1
    assert coherence_of_matrices(teacher, np.ones_like(student)) == 0.5
    reversed_student = student.max() - student
    assert coherence_of_matrices(teacher, reversed_student) == pytest.approx(1 - score, abs=1e-12)


@given(SEEDS)
def test_statement_2_increasing_transforms_do_not_change_the_score(seed):
    rng = np.random.default_rng(seed)
    teacher, student = matrix_of(embeddings(seed)), matrix_of(grid(seed, n=30))
    powers = rng.uniform(0.3, 4, size=(30, 1))
    score = coherence_of_matrices(teacher, student)
    assert coherence_of_matrices(teacher, student**powers) == score
    assert coherence_of_matrices(np.expm1(teacher), student) == score


@given(SEEDS, st.sampled_from([grid, embeddings]), st.sampled_from(["euclidean", "cosine"]))
def test_statement_2_isometries_and_scalings_do_not_change_the_score(seed, draw, metric):
    rng = np.random.default_rng(seed)
    teacher, student = embeddings(seed), draw(seed + 1, n=30, d=3)
    score = perception_coherence_score(teacher, student, metric=metric)
    moved = student @ rotation(seed, 3)
    if metric == "euclidean":
        moved = rng.uniform(0.01, 100) * moved + rng.normal(size=3)
    else:
        moved = rng.uniform(0.01, 100, size=(30, 1)) * moved
    found = perception_coherence_score(teacher, moved, metric=metric)
    assert found == pytest.approx(score, abs=1e-12)


@given(SEEDS)
def test_statement_3_a_permutation_of_samples_does_not_change_scores(seed):
    teacher, student = embeddings(seed), grid(seed, n=30)
    order = np.random.default_rng(seed).permutation(30)
    for score in (perception_coherence_score, neighbor_recall_score):
        found = score(teacher[order], student[order], metric="euclidean")
        assert found == pytest.approx(score(teacher, student, metric="euclidean"), abs=1e-12)


@given(SEEDS)
def test_statement_4_score_is_symmetric_and_a_function_of_kendalls_tau(seed):
    teacher, student = embeddings(seed), embeddings(seed + 1, d=3)
    score = perception_coherence_score(teacher, student)
    assert perception_coherence_score(student, teacher) == pytest.approx(score, abs=1e-12)
    matrices = matrix_of(teacher, "cosine"), matrix_of(student, "cosine")
    taus = [
        kendalltau(*(np.delete(rows[anchor], anchor) for rows in matrices)).statistic
        for anchor in range(30)
    ]
    assert score == pytest.approx((1 + np.mean(taus)) / 2, abs=1e-12)


@given(SEEDS, st.integers(1, 28))
def test_statement_5_perfect_coherence_keeps_all_neighbors(seed, n_neighbors):
    teacher = matrix_of(embeddings(seed))
    student = np.sqrt(teacher)
    assert coherence_of_matrices(teacher, student) == 1
    recall = neighbor_recall_score(teacher, student, metric="precomputed", n_neighbors=n_neighbors)
    assert recall == 1
    swapped = student.copy()
    near, far = np.argsort(student[0])[1:3]
    swapped[0, [near, far]] = swapped[0, [far, near]]
    assert coherence_of_matrices(teacher, swapped) < 1


@given(SEEDS)
def test_statement_6_one_minus_the_score_satisfies_the_triangle_inequality(seed):
    first, drift = embeddings(seed), embeddings(seed + 1)
    # The second is between the others, so that the inequality is nearly an equality.
    second, third = first + 0.1 * drift, first + 0.2 * drift

    def incoherence(f, g):
        return 1 - perception_coherence_score(f, g)

    direct = incoherence(first, third)
    assert direct <= incoherence(first, second) + incoherence(second, third) + 1e-12


@given(SEEDS)
def test_statement_7_rank_error_and_score_bound_each_other(seed):
    n_references = 29
    matrices = matrix_of(embeddings(seed)), matrix_of(embeddings(seed + 1, d=2))
    coherences = perception_coherence_samples(*matrices, metric="precomputed")
    others = [torch.from_numpy(rows[~np.eye(30, dtype=bool)].reshape(30, -1)) for rows in matrices]
    errors = torch.abs(percentile_rank(others[0]) - percentile_rank(others[1])).mean(1).numpy()
    bounds = (1 - coherences) * (n_references - 1) / n_references
    assert (bounds / 2 - 1e-12 <= errors).all()
    assert (errors <= bounds + 1e-12).all()


@settings(max_examples=3)
@given(SEEDS)
def test_statement_9_sampled_scores_converge_to_the_exact_score(seed):
    teacher = embeddings(seed, n=1200)
    student = teacher[:, :4] + embeddings(seed + 1, n=1200, d=4) / 4
    exact = perception_coherence_score(teacher, student)

    def error(n_drawn):
        drawn = [
            perception_coherence_score(
                teacher, student, n_anchors=n_drawn, n_references=n_drawn, random_state=state
            )
            for state in range(12)
        ]
        return np.sqrt(np.mean(np.square(np.array(drawn) - exact)))

    # With 16 times as many samples the expected error is a quarter.
    assert error(800) < error(50) / 2
    assert error(1200) < 1e-12


@given(SEEDS, st.floats(0.01, 100))
def test_statement_10_common_factor_and_zero_weights_do_not_change_scores(seed, factor):
    rng = np.random.default_rng(seed)
    teacher, student = embeddings(seed), grid(seed, n=30)
    weights = rng.uniform(0.5, 2, size=30) * (rng.random(30) < 0.7)
    weights[:4] = 1
    kept = weights > 0
    for score in (perception_coherence_score, neighbor_recall_score):
        options = {"metric": "euclidean"}
        if score is neighbor_recall_score:
            options["n_neighbors"] = 2
        found = score(teacher, student, sample_weight=weights, **options)
        scaled = score(teacher, student, sample_weight=factor * weights, **options)
        without = score(teacher[kept], student[kept], sample_weight=weights[kept], **options)
        assert scaled == pytest.approx(found, abs=1e-9)
        assert without == pytest.approx(found, abs=1e-12)


def test_score_of_a_constant_teacher_is_nan_with_a_warning():
    with pytest.warns(UndefinedMetricWarning, match="teacher ties"):
        score = perception_coherence_score(np.ones((9, 2)), embeddings(0, n=9))
    assert np.isnan(score)


def test_anchors_with_only_ties_are_left_out():
    teacher, student = matrix_of(embeddings(0)), matrix_of(embeddings(1))
    teacher[:10] = 1.0
    rows = [
        references.concordance(np.delete(t, i), np.delete(s, i))
        for i, (t, s) in enumerate(zip(teacher, student, strict=True))
    ]
    assert coherence_of_matrices(teacher, student) == pytest.approx(np.nanmean(rows), abs=1e-12)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_zero_rows_and_duplicates_tie(metric):
    rows = embeddings(0, n=10)
    rows = np.concatenate([rows, rows, np.zeros((3, 6))])
    assert perception_coherence_score(rows, 2 * rows, metric=metric) == 1


def test_sampled_score_is_reproducible_and_near_the_exact_score():
    teacher = embeddings(0, n=1500)
    student = teacher[:, :4]
    exact = perception_coherence_score(teacher, student)
    sampled = [
        perception_coherence_score(
            teacher, student, n_anchors=300, n_references=400, random_state=seed
        )
        for seed in (0, 0, 1)
    ]
    assert sampled[0] == sampled[1] != sampled[2]
    np.testing.assert_allclose(sampled, exact, atol=0.02)


@settings(max_examples=20)
@given(SEEDS, st.integers(1, 29))
def test_recall_agrees_with_the_definition(seed, n_neighbors):
    teacher, student = embeddings(seed), embeddings(seed + 1, d=2)
    found = neighbor_recall_score(teacher, student, n_neighbors=n_neighbors)
    expected = references.neighbor_recall(
        matrix_of(teacher, "cosine"), matrix_of(student, "cosine"), n_neighbors
    )
    assert found == pytest.approx(expected, abs=1e-12)


def test_recall_of_a_constant_student_is_chance():
    found = neighbor_recall_score(embeddings(0), np.ones((30, 2)), n_neighbors=7)
    assert found == pytest.approx(7 / 29)


def test_scores_do_not_depend_on_the_sizes_of_blocks_and_chunks(monkeypatch):
    teacher, student = embeddings(0, n=80), embeddings(1, n=80, d=2)
    scores = perception_coherence_score, neighbor_recall_score
    whole = [score(teacher, student) for score in scores]
    monkeypatch.setattr("skperco.metrics._representations._ENTRIES_PER_BLOCK", 200)
    monkeypatch.setattr("skperco.metrics._representations._ROWS_PER_CHUNK", 7)
    monkeypatch.setattr("skperco.metrics._concordance._ENTRIES_PER_CHUNK", 100)
    np.testing.assert_allclose([score(teacher, student) for score in scores], whole, atol=1e-12)


def test_scores_do_not_depend_on_n_jobs(monkeypatch):
    monkeypatch.setattr("skperco.metrics._representations._ENTRIES_PER_BLOCK", 400)
    teacher, student = embeddings(0, n=80), grid(1, n=80)
    weights = np.random.default_rng(0).uniform(0.5, 2, size=80)
    for score in (perception_coherence_score, neighbor_recall_score):
        alone = score(teacher, student, sample_weight=weights)
        assert score(teacher, student, sample_weight=weights, n_jobs=2) == alone
    alone = perception_coherence_samples(teacher, student)
    np.testing.assert_array_equal(perception_coherence_samples(teacher, student, n_jobs=2), alone)


def test_score_does_not_depend_on_the_joblib_backend(monkeypatch):
    monkeypatch.setattr("skperco.metrics._representations._ENTRIES_PER_BLOCK", 400)
    teacher, student = embeddings(0, n=80), grid(1, n=80)
    alone = perception_coherence_score(teacher, student)
    with parallel_config(backend="loky", n_jobs=2):
        assert perception_coherence_score(teacher, student) == alone


@pytest.mark.parametrize("tol", [0.01, 0.003])
def test_tolerance_bounds_the_standard_error(tol):
    teacher = embeddings(0, n=6000)
    student = teacher[:, :4]
    exact = perception_coherence_score(teacher, student, n_anchors=2500, n_references=6000)
    found = perception_coherence_score(teacher, student, tol=tol)
    assert abs(found - exact) < 4 * tol
    interval = perception_coherence_interval(teacher, student, tol=tol)
    assert interval.score == found
    assert interval.standard_error <= tol


def test_tolerance_is_ignored_for_few_samples():
    teacher, student = embeddings(0), grid(1, n=30)
    exact = perception_coherence_score(teacher, student)
    assert perception_coherence_score(teacher, student, tol=1e-9) == exact


def test_only_drawn_rows_are_read_and_checked(tmp_path):
    rows = np.lib.format.open_memmap(tmp_path / "rows.npy", "w+", np.float32, (5000, 6))
    rows[:] = embeddings(0, n=5000)
    whole = perception_coherence_score(rows, rows[:, :3], n_anchors=50, n_references=60)
    drawn = np.random.RandomState(0)
    used = {*drawn.permutation(5000)[:50], *drawn.permutation(5000)[:60]}
    rows[sorted(set(range(5000)) - used)] = np.nan
    assert perception_coherence_score(rows, rows[:, :3], n_anchors=50, n_references=60) == whole
    rows[min(used)] = np.nan
    with pytest.raises(ValueError, match="teacher contains NaN"):
        perception_coherence_score(rows, rows[:, :3], n_anchors=50, n_references=60)


def test_score_of_integers_half_and_single_precision_is_that_of_double_precision():
    rows = grid(0, n=15, d=4)
    expected = perception_coherence_score(rows, rows[:, :2])
    for dtype in (np.int32, np.float16, np.float32):
        found = perception_coherence_score(rows.astype(dtype), rows[:, :2].tolist())
        assert found == pytest.approx(expected, abs=1e-12)


def test_score_with_a_callable_metric_is_that_of_the_named_metric():
    teacher, student = embeddings(0), embeddings(1, d=3)
    found = perception_coherence_score(
        teacher, student, metric=lambda a, b: torch.cdist(a, b, p=1), teacher_metric="cosine"
    )
    expected = perception_coherence_score(
        teacher, student, metric="manhattan", teacher_metric="cosine"
    )
    assert found == pytest.approx(expected, abs=1e-12)


GOOD = embeddings(0)
BAD_INPUT = {
    "rows": ((GOOD, GOOD[:9]), {}, "teacher and student must describe the same rows, got 30 and 9"),
    "nan": ((np.where(GOOD > 2, np.nan, GOOD), GOOD), {}, "teacher contains NaN"),
    "inf": ((GOOD, np.where(GOOD > 1, np.inf, GOOD)), {}, "student contains infinity"),
    "3-D": ((GOOD[None], GOOD), {}, "dim <= 2 is required by teacher"),
    "strings": ((np.full((30, 2), "a"), GOOD), {}, "could not convert string"),
    "empty": ((GOOD[:0], GOOD[:0]), {}, "0 sample"),
    "two rows": ((GOOD[:2], GOOD[:2]), {}, "at least 3 samples"),
    "metric": ((GOOD, GOOD), {"metric": "euclid"}, "Did you mean 'euclidean'"),
    "teacher_metric": ((GOOD, GOOD), {"teacher_metric": "x"}, "teacher_metric must be one of"),
    "not square": ((GOOD, GOOD), {"teacher_metric": "precomputed"}, "teacher must be a square"),
    "negative": (
        (GOOD, -np.ones((30, 30))),
        {"metric": "precomputed", "teacher_metric": "cosine"},
        "student must hold non-negative",
    ),
    "weights": ((GOOD, GOOD), {"sample_weight": -np.ones(30)}, "sample_weight"),
    "zero weights": ((GOOD, GOOD), {"sample_weight": np.zeros(30)}, "sample_weight"),
    "device": ((GOOD, GOOD), {"device": "warp"}, "device must be"),
    "n_anchors": ((GOOD, GOOD), {"n_anchors": 0}, "n_anchors must be at least 1"),
    "n_references": ((GOOD, GOOD), {"n_references": 2}, "n_references must be at least 3"),
    "tol": ((GOOD, GOOD), {"tol": 0.0}, "tol must be a finite number above 0"),
    "both": ((GOOD, GOOD), {"tol": 0.1, "n_anchors": 9}, "n_anchors must be None when tol"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_invalid_input_raises_errors_that_name_it(case):
    arguments, options, message = BAD_INPUT[case]
    with pytest.raises(ValueError, match=message):
        perception_coherence_score(*arguments, **options)


@pytest.mark.parametrize("n_neighbors", [0, 30])
def test_n_neighbors_out_of_range_raises_an_error(n_neighbors):
    with pytest.raises(ValueError, match="n_neighbors must be at least 1 and at most 29"):
        neighbor_recall_score(GOOD, GOOD, n_neighbors=n_neighbors)


def test_only_the_drawn_entries_of_a_precomputed_matrix_are_read():
    """An invalid entry raises an error for some draws; for the others it has no effect."""
    places = np.arange(12.0) ** 2
    valid = np.abs(places[:, None] - places)
    invalid = valid.copy()
    invalid[2, 7] = -1.0
    outcomes = set()
    for seed in range(30):
        options = {"metric": "precomputed", "n_anchors": 3, "n_references": 4, "random_state": seed}
        expected = perception_coherence_score(valid, valid**2, **options)
        try:
            found = perception_coherence_score(invalid, valid**2, **options)
        except ValueError:
            outcomes.add("error")
        else:
            assert found == expected
            outcomes.add("score")
    assert outcomes == {"error", "score"}


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "manhattan"])
@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_scores_of_other_anchors_agree_with_the_definition(metric, seed):
    rng = np.random.default_rng(seed)
    teacher, student, queries = (rng.normal(size=(9, 4)) for _ in range(3))
    both = references.table(np.concatenate([queries, student]), metric)
    student_table = both[:9, 9:].copy()
    teacher_table = references.table(teacher, metric)
    given_rows = {"metric": metric, "student_queries": queries}
    assert perception_coherence_score(teacher, student, **given_rows) == pytest.approx(
        references.perception_coherence(teacher_table, student_table)
    )
    assert neighbor_recall_score(teacher, student, n_neighbors=3, **given_rows) == pytest.approx(
        references.neighbor_recall(teacher_table, student_table, 3)
    )


@pytest.mark.parametrize(
    ("queries", "metric", "message"),
    [
        (np.ones((5, 2)), "cosine", "student and student_queries must have the same number of col"),
        (np.ones((4, 3)), "cosine", "must describe the same rows, got 5 and 4 rows"),
        (np.full((5, 3), np.nan), "cosine", "student_queries contains NaN"),
        (np.ones((5, 5)), "precomputed", "student_queries must be None if the metric is"),
    ],
)
def test_other_anchors_that_do_not_match_raise_errors_that_name_them(queries, metric, message):
    teacher = np.random.default_rng(0).normal(size=(5, 3))
    student = references.table(teacher, "euclidean") if metric == "precomputed" else teacher
    with pytest.raises(ValueError, match=message):
        perception_coherence_score(
            teacher, student, metric=metric, teacher_metric="cosine", student_queries=queries
        )
