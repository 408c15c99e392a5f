import numpy as np
import pytest
import torch
from numpy.random import RandomState

from skperco import neighbor_recall_score, perception_coherence_score
from skperco.closed_form._initialization import _INTERCEPT, ALPHAS
from skperco.closed_form._landmark_mds import teacher_coordinates
from skperco.closed_form._ridge import Ridge
from skperco.datasets import load_wordnet_glosses
from skperco.students._builtin import LinearStudent, MLPStudent, ProjectionStudent
from skperco.training._distributed import Processes
from skperco.training._early_stopping import FRACTIONS, EarlyStoppingResult, select_fraction
from skperco.training._holdout import HoldoutScores, last_acceptable
from skperco.training._plan import Plan
from skperco.training._samples import Samples
from skperco.training._settings import Settings
from skperco.training._student_fit import StudentFit
from skperco.training._subset import TrainingSubset

N_ROWS = 200


@pytest.fixture(scope="module")
def embeddings():
    return load_wordnet_glosses().data


def plan(student="linear", watch=lambda steps, *_: steps, **settings):
    settings = {
        "metric": "cosine",
        "rank_power": 0.5,
        "batch_size": 64,
        "n_references": 64,
        "n_neighbors": 20,
        "learning_rate_init": 0.1,
        "max_iter": 6,
    } | settings
    return Plan(
        n_components=8,
        student=student,
        hidden_layer_sizes=(16,),
        settings=Settings(**settings),
        dropout=0.15,
        alphas=ALPHAS,
        device=torch.device("cpu"),
        watch=watch,
        processes=Processes(),
    )


def compression(rows):
    return Samples(rows, np.ones(len(rows)), None, "cosine")


def transfer(rows):
    X = rows[:, ::2].copy()
    targets = teacher_coordinates(rows, "cosine", np.ones(len(rows)), RandomState(0), "cpu")
    return Samples(X, np.ones(len(rows)), rows, "cosine", targets)


def fit_of(samples, given, seed=0):
    subset = TrainingSubset(samples, given.device)
    return StudentFit(samples, subset, given, RandomState(seed)).initialize()


def result_of(fitted, held_out, given):
    subset = TrainingSubset(fitted, given.device)

    def new_fit(plan):
        return StudentFit(fitted, subset, plan, RandomState(0))

    return select_fraction(new_fit, held_out, given, tol=5e-4)


SAMPLES = pytest.mark.parametrize("kind", [compression, transfer])


@SAMPLES
@pytest.mark.parametrize("student", ["linear", "mlp"])
def test_interpolation_leads_from_the_closed_form_to_the_trained_student(embeddings, kind, student):
    samples = kind(embeddings[:N_ROWS])
    fit = fit_of(samples, plan(student))
    closed_form = fit.embed(samples.X)
    fit.interpolate(0.7)
    np.testing.assert_array_equal(fit.embed(samples.X), closed_form)
    fit.train()
    trained = fit.embed(samples.X)
    fit.interpolate(0.0)
    np.testing.assert_array_equal(fit.embed(samples.X), closed_form)
    fit.interpolate(1.0)
    np.testing.assert_array_equal(fit.embed(samples.X), trained)
    assert np.abs(trained - closed_form).max() > 1e-3


@SAMPLES
def test_a_transfer_stops_short_of_the_trained_student(embeddings, kind):
    samples = kind(embeddings[:N_ROWS])
    fit = fit_of(samples, plan())
    fit.train()
    largest_step = [value.clone() for value in fit.student.parameters()]
    fit.trainer.interpolate(1.0)
    same = all(map(torch.equal, largest_step, fit.student.parameters()))
    assert same == (kind is compression)


def test_the_kind_of_student_depends_on_metric_and_teacher(embeddings):
    rows = embeddings[:N_ROWS]
    kinds = {
        ProjectionStudent: (compression(rows), plan()),
        LinearStudent: (compression(rows), plan(metric="euclidean")),
        MLPStudent: (compression(rows), plan("mlp")),
    }
    for expected, given in kinds.items():
        assert type(fit_of(*given).student) is expected
    assert type(fit_of(transfer(rows), plan()).student) is LinearStudent


@SAMPLES
def test_a_watcher_can_stop_the_steps_and_gets_the_student_so_far(embeddings, kind):
    seen = []

    def watch(steps, _, attributes):
        for _ in range(3):
            yield next(steps)
            seen.append(attributes())

    samples = kind(embeddings[:N_ROWS])
    fit = fit_of(samples, plan(watch=watch))
    fit.train()
    assert len(fit.losses) == len(seen) == 3
    assert {attributes["n_components_"] for attributes in seen} == {8}
    for value, last in zip(
        fit.student.parameters(), seen[-1]["student_"].parameters(), strict=True
    ):
        torch.testing.assert_close(value, last, rtol=0, atol=0)
    first, second = (attributes["student_"].weight for attributes in seen[:2])
    assert (first - second).abs().max() > 0


@SAMPLES
def test_a_fit_starts_from_a_given_student(embeddings, kind):
    samples = kind(embeddings[:N_ROWS])
    start = fit_of(samples, plan()).student
    before = [value.clone() for value in start.parameters()]
    fit = fit_of(samples, plan()._replace(start=start), seed=1)
    assert fit.alpha is None
    fit.train()
    assert all(map(torch.equal, before, start.parameters()))
    fit.interpolate(0.0)
    assert all(map(torch.equal, before, fit.student.parameters()))


@pytest.mark.parametrize(("n_rows", "max_iter"), [(N_ROWS, 0), (2, 5)])
def test_the_closed_form_is_kept_without_steps_or_with_too_few_rows(embeddings, n_rows, max_iter):
    samples = compression(embeddings[:n_rows])
    fit = fit_of(samples, plan(max_iter=max_iter)._replace(n_components=2))
    before = fit.embed(samples.X)
    fit.train()
    fit.interpolate(1.0)
    assert fit.losses == []
    np.testing.assert_array_equal(fit.embed(samples.X), before)


# Early stopping


def scores_of(coherences, recall=0.5):
    return [HoldoutScores(np.full(5, one), np.full(5, recall), np.ones(5)) for one in coherences]


def selected(monkeypatch, *validation_scores, rank_power=0.5, interrupted=()):
    """The result, and the plans of the validation fits, if these have the given scores."""
    plans = []

    def evaluate(fit, *_):
        plans.append(fit.plan)
        scores = validation_scores[len(plans) - 1]
        fraction = FRACTIONS[last_acceptable(scores, fit.plan.settings.rank_power, 5e-4)]
        return EarlyStoppingResult(
            fit.plan, 0.1, scores, fraction, interrupted=len(plans) in interrupted
        )

    monkeypatch.setattr("skperco.training._early_stopping._evaluate", evaluate)
    samples = compression(np.eye(4, dtype=np.float32))
    return result_of(samples, samples, plan(rank_power=rank_power, max_iter=0)), plans


SHORT = scores_of([0.5] * 3 + [0.4] * (len(FRACTIONS) - 3))
LONG = scores_of([0.5] * len(FRACTIONS))
SHORTER = scores_of([0.5, *[0.4] * (len(FRACTIONS) - 1)])


def test_a_validation_fit_with_a_large_fraction_is_not_repeated(monkeypatch):
    result, plans = selected(monkeypatch, LONG)
    assert len(plans) == 1
    assert result.fraction == 1


@pytest.mark.parametrize(("again", "chosen"), [(LONG, 1), (SHORTER, 0)])
def test_a_validation_fit_with_a_small_fraction_is_repeated(again, chosen, monkeypatch):
    result, plans = selected(monkeypatch, SHORT, again)
    assert len(plans) == 2
    assert plans[1].settings.global_weight > 2 * plans[0].settings.global_weight
    assert plans[1].alphas == (0.1,)
    assert result.plan is plans[chosen]


def test_an_interrupted_validation_fit_is_not_repeated(monkeypatch):
    result, plans = selected(monkeypatch, SHORT, interrupted=[1])
    assert len(plans) == 1
    assert result.interrupted


@pytest.mark.parametrize(("again", "chosen"), [(LONG, 1), (SHORTER, 0)])
def test_an_interruption_of_the_second_validation_fit_is_reported(again, chosen, monkeypatch):
    result, plans = selected(monkeypatch, SHORT, again, interrupted=[2])
    assert result.plan is plans[chosen]
    assert result.interrupted


@pytest.mark.parametrize("rank_power", [0.0, 0.3, 1.0])
def test_no_repetition_where_the_global_weight_cannot_help(rank_power, monkeypatch):
    assert len(selected(monkeypatch, SHORT, LONG, rank_power=rank_power)[1]) == 1


@pytest.mark.parametrize("rank_power", [0.0, 0.5, 1.0])
def test_the_ridge_strength_maximizes_the_criterion_on_held_out_rows(embeddings, rank_power):
    fitted, held_out = (transfer(rows) for rows in (embeddings[:N_ROWS], embeddings[300:400]))
    given = plan(rank_power=rank_power, max_iter=0)
    targets = fitted.targets[:] @ np.linalg.svd(fitted.targets[:], full_matrices=False)[2][:64].T
    ridge = Ridge(fitted.X, intercept=_INTERCEPT, sample_weight=fitted.weight)
    criteria = {
        alpha: rank_power * perception_coherence_score(held_out.teacher, start(held_out.X))
        + (1 - rank_power)
        * neighbor_recall_score(held_out.teacher, start(held_out.X), n_neighbors=10)
        for alpha, start in zip(ALPHAS, ridge.path(targets, ALPHAS), strict=True)
    }
    assert result_of(fitted, held_out, given).alpha == max(criteria, key=criteria.get)


def test_held_out_rows_have_no_influence_on_the_validation_fit(embeddings):
    fitted, held_out = (compression(rows) for rows in (embeddings[:N_ROWS], embeddings[300:340]))
    result = result_of(fitted, held_out, plan())
    others = held_out._replace(X=np.ascontiguousarray(held_out.X[::-1]))
    reversed_result = result_of(fitted, others, plan())
    assert len(result.scores) == len(FRACTIONS)
    for one, other in zip(result.scores, reversed_result.scores, strict=True):
        np.testing.assert_allclose(one.coherences, other.coherences[::-1], atol=1e-3)


@pytest.mark.parametrize(("tol", "accepts"), [(0.2, True), (0.05, False)])
def test_tol_is_the_largest_accepted_loss_of_coherence(tol, accepts):
    scores = [
        HoldoutScores(np.full(5, coherence), np.full(5, recall), np.ones(5))
        for coherence, recall in ((0.8, 0.3), (0.8 - 0.1, 0.9))
    ]
    assert scores[1].keeps(scores[0], 0.5, tol) == accepts


@SAMPLES
def test_a_fit_resumes_from_the_validation_fit_of_a_similar_initialization(embeddings, kind):
    samples, n_watched = kind(embeddings[:N_ROWS]), []

    def watch(steps, n_steps, _):
        n_watched.append(n_steps)
        return steps

    given = plan(watch=watch)
    validation = fit_of(samples, given)
    validation.train()
    fit = fit_of(samples, given, seed=1)
    fit.train(validation.snapshot)
    assert n_watched == ([6, 4] if kind is compression else [6, 6])
    assert len(fit.losses) == 6
    assert (fit.losses[:2] == validation.losses[:2]) == (kind is compression)
