import numpy as np
import pytest
import torch
from numpy.random import RandomState

from skperco import neighbor_recall_score, perception_coherence_score
from skperco.closed_form._initialization import _ALPHAS, _INTERCEPT
from skperco.closed_form._landmark_mds import teacher_coordinates
from skperco.closed_form._ridge import Ridge
from skperco.datasets import load_wordnet_glosses
from skperco.students._builtin import LinearStudent, MLPStudent, ProjectionStudent
from skperco.training._distributed import Processes
from skperco.training._early_stopping import FRACTIONS, EarlyStoppingResult, decide
from skperco.training._holdout import HoldoutScores
from skperco.training._optimizer import Settings
from skperco.training._samples import Samples
from skperco.training._student_fit import Fit, Plan
from skperco.training._teacher import Pool

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
    return Plan(8, student, (16,), Settings(**settings), torch.device("cpu"), watch, Processes())


def compression(rows):
    return Samples(rows, np.ones(len(rows)), None, "cosine")


def transfer(rows):
    X = rows[:, ::2].copy()
    targets = teacher_coordinates(rows, "cosine", np.ones(len(rows)), RandomState(0), "cpu")
    return Samples(X, np.ones(len(rows)), rows, "cosine", targets)


def fit_of(samples, given, seed=0):
    return Fit(samples, Pool(samples, given.device), given, RandomState(seed))


def decision_of(fitted, held_out, given):
    return decide(fitted, Pool(fitted, given.device), held_out, given, 0)


SAMPLES = pytest.mark.parametrize("kind", [compression, transfer])


@SAMPLES
@pytest.mark.parametrize("student", ["linear", "mlp"])
def test_interpolation_goes_from_the_closed_form_to_the_trained_student(embeddings, kind, student):
    samples = kind(embeddings[:N_ROWS])
    fit = fit_of(samples, plan(student))
    closed_form = fit.embed(samples.X)
    fit.blend(0.7)
    np.testing.assert_array_equal(fit.embed(samples.X), closed_form)
    fit.refine()
    refined = fit.embed(samples.X)
    fit.blend(0.0)
    np.testing.assert_array_equal(fit.embed(samples.X), closed_form)
    fit.blend(1.0)
    np.testing.assert_array_equal(fit.embed(samples.X), refined)
    assert np.abs(refined - closed_form).max() > 1e-3


@SAMPLES
def test_the_step_of_a_transfer_is_shortened(embeddings, kind):
    samples = kind(embeddings[:N_ROWS])
    fit = fit_of(samples, plan())
    fit.refine()
    farthest = [value.clone() for value in fit.student.parameters()]
    fit.refinement.blend(1.0)
    same = all(map(torch.equal, farthest, fit.student.parameters()))
    assert same == (kind is compression)


def test_class_of_the_student_depends_on_metric_and_kind_of_fit(embeddings):
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
def test_a_watcher_can_stop_training_and_receives_the_current_student(embeddings, kind):
    seen = []

    def watch(steps, _, attributes):
        for _ in range(3):
            yield next(steps)
            seen.append(attributes())

    samples = kind(embeddings[:N_ROWS])
    fit = fit_of(samples, plan(watch=watch))
    fit.refine()
    assert len(fit.losses) == len(seen) == 3
    assert {attributes["n_components_"] for attributes in seen} == {8}
    for value, last in zip(
        fit.student.parameters(), seen[-1]["student_"].parameters(), strict=True
    ):
        torch.testing.assert_close(value, last, rtol=0, atol=0)
    first, second = (attributes["student_"].weight for attributes in seen[:2])
    assert (first - second).abs().max() > 0


@SAMPLES
def test_a_fit_can_be_initialized_with_a_student(embeddings, kind):
    samples = kind(embeddings[:N_ROWS])
    start = fit_of(samples, plan()).student
    before = [value.clone() for value in start.parameters()]
    fit = fit_of(samples, plan()._replace(start=start), seed=1)
    assert fit.alpha is None
    fit.refine()
    assert all(map(torch.equal, before, start.parameters()))
    fit.blend(0.0)
    assert all(map(torch.equal, before, fit.student.parameters()))


@pytest.mark.parametrize(("n_rows", "max_iter"), [(N_ROWS, 0), (2, 5)])
def test_without_steps_or_enough_rows_the_closed_form_is_kept(embeddings, n_rows, max_iter):
    samples = compression(embeddings[:n_rows])
    fit = fit_of(samples, plan(max_iter=max_iter)._replace(n_components=2))
    before = fit.embed(samples.X)
    fit.refine()
    fit.blend(1.0)
    assert fit.losses == []
    np.testing.assert_array_equal(fit.embed(samples.X), before)


# Early stopping


def judged(coherences, recall=0.5):
    return [HoldoutScores(np.full(5, one), np.full(5, recall), np.ones(5)) for one in coherences]


def test_early_stopping_selects_the_largest_accepted_fraction():
    falling = [0.5] * 4 + [0.4] * (len(FRACTIONS) - 4)
    decision = EarlyStoppingResult(plan(), None, judged(falling))
    assert decision.chosen == 3
    assert decision.fraction == FRACTIONS[3]
    assert EarlyStoppingResult(plan(), None, []).fraction == 0


def decided(monkeypatch, *trials, rank_power=0.5, interrupted=()):
    """The result of early stopping and the plans tried, for given scores of the validation fits."""
    tried = []

    def attempt(given, *_):
        tried.append(given)
        return EarlyStoppingResult(
            given, 0.1, trials[len(tried) - 1], interrupted=len(tried) in interrupted
        )

    monkeypatch.setattr(
        "skperco.training._early_stopping.Fit", lambda fitted, pool, given, *_, **__: given
    )
    monkeypatch.setattr("skperco.training._early_stopping._try", attempt)
    held_out = compression(np.eye(4, dtype=np.float32))
    return decide(None, None, held_out, plan(rank_power=rank_power), 0), tried


SHORT = judged([0.5] * 3 + [0.4] * (len(FRACTIONS) - 3))
LONG = judged([0.5] * len(FRACTIONS))


def test_a_validation_fit_with_a_large_fraction_is_not_repeated(monkeypatch):
    decision, tried = decided(monkeypatch, LONG)
    assert len(tried) == 1
    assert decision.fraction == 1


@pytest.mark.parametrize(("again", "taken"), [(LONG, 1), (judged([0.5, *[0.4] * 8]), 0)])
def test_a_validation_fit_with_a_small_fraction_is_repeated_with_more_global_weight(
    again, taken, monkeypatch
):
    decision, tried = decided(monkeypatch, SHORT, again)
    assert len(tried) == 2
    assert tried[1].settings.global_weight > 2 * tried[0].settings.global_weight
    assert decision.plan is tried[taken]


def test_an_interrupted_validation_fit_is_not_repeated(monkeypatch):
    decision, tried = decided(monkeypatch, SHORT, interrupted=[1])
    assert len(tried) == 1
    assert decision.interrupted


@pytest.mark.parametrize(("again", "taken"), [(LONG, 1), (judged([0.5, *[0.4] * 8]), 0)])
def test_an_interruption_of_the_second_validation_fit_is_reported(again, taken, monkeypatch):
    decision, tried = decided(monkeypatch, SHORT, again, interrupted=[2])
    assert decision.plan is tried[taken]
    assert decision.interrupted


@pytest.mark.parametrize("rank_power", [0.0, 0.3, 1.0])
def test_the_validation_fit_is_not_repeated_for_other_values_of_rank_power(rank_power, monkeypatch):
    assert len(decided(monkeypatch, SHORT, LONG, rank_power=rank_power)[1]) == 1


@pytest.mark.parametrize("rank_power", [0.0, 0.5, 1.0])
def test_alpha_maximizes_the_validation_score(embeddings, rank_power):
    fitted, held_out = (transfer(rows) for rows in (embeddings[:N_ROWS], embeddings[300:400]))
    given = plan(rank_power=rank_power, max_iter=0)
    targets = fitted.targets[:] @ np.linalg.svd(fitted.targets[:], full_matrices=False)[2][:64].T
    ridge = Ridge(fitted.X, intercept=_INTERCEPT, sample_weight=fitted.weight)
    starts = ridge.path(targets, _ALPHAS)
    worths = {
        alpha: rank_power * perception_coherence_score(held_out.teacher, start(held_out.X))
        + (1 - rank_power)
        * neighbor_recall_score(held_out.teacher, start(held_out.X), n_neighbors=10)
        for alpha, start in zip(_ALPHAS, starts, strict=True)
    }
    assert decision_of(fitted, held_out, given).alpha == max(worths, key=worths.get)


def test_held_out_rows_do_not_influence_the_validation_fit(embeddings):
    fitted, held_out = (compression(rows) for rows in (embeddings[:N_ROWS], embeddings[300:340]))
    decision = decision_of(fitted, held_out, plan())
    others = held_out._replace(X=np.ascontiguousarray(held_out.X[::-1]))
    mirrored = decision_of(fitted, others, plan())
    assert len(decision.judgments) == len(FRACTIONS)
    for one, other in zip(decision.judgments, mirrored.judgments, strict=True):
        np.testing.assert_allclose(one.coherences, other.coherences[::-1], atol=1e-3)


@SAMPLES
def test_the_final_fit_of_a_compression_resumes_from_the_validation_fit(embeddings, kind):
    samples, seen = kind(embeddings[:N_ROWS]), []

    def watch(steps, n_steps, _):
        seen.append(n_steps)
        return steps

    given = plan(watch=watch)
    trial = fit_of(samples, given)
    trial.refine()
    fit = Fit(samples, Pool(samples, given.device), given, RandomState(1), trial=trial)
    fit.refine()
    assert seen == ([6, 4] if kind is compression else [6, 6])
    assert len(fit.losses) == 6
    assert (fit.losses[:2] == trial.losses[:2]) == (kind is compression)
