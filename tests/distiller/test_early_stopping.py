"""Rows held out of the fit choose how far training moves from the closed form."""

import numpy as np
import pytest
from builders import small

from skperco.training._early_stopping import select_fraction

STUDENTS = pytest.mark.parametrize("student", ["linear", "mlp"])


@STUDENTS
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("kind", ["compression", "transfer"])
def test_fraction_zero_restores_the_closed_form(rows, new_rows, student, metric, kind, monkeypatch):
    monkeypatch.setattr("skperco.training._early_stopping.FRACTIONS", (0.0,))
    teacher = None if kind == "compression" else new_rows[:300]
    trained, closed_form = (
        small(student=student, metric=metric, max_iter=max_iter).fit(rows, teacher)
        for max_iter in (8, 0)
    )
    assert trained.fraction_ == 0
    assert trained.n_iter_ == 1
    np.testing.assert_array_equal(trained.transform(rows), closed_form.transform(rows))


def test_too_few_rows_to_hold_out_keep_the_closed_form(rows):
    distiller = small().fit(rows[:150])
    assert distiller.n_iter_ == 1
    assert distiller.validation_scores_ is None


def test_without_early_stopping_the_trained_student_is_kept(rows):
    distiller = small(early_stopping=False).fit(rows[:150])
    assert distiller.fraction_ == 1
    assert distiller.n_iter_ == 9
    assert distiller.validation_scores_ is None
    closed_form = small(max_iter=0, early_stopping=False).fit(rows[:150])
    assert (distiller.transform(rows) != closed_form.transform(rows)).any()


def test_losses_and_validation_scores_of_the_fit_are_recorded(rows):
    distiller = small(max_iter=11, rank_power=1.0).fit(rows)
    assert distiller.n_iter_ == 12
    assert len(distiller.loss_curve_) == 11
    assert all(isinstance(loss, float) for loss in distiller.loss_curve_)
    fractions, scores = distiller.validation_fractions_, distiller.validation_scores_
    assert fractions[0] == 0
    assert fractions[-1] == 1
    assert (np.diff(fractions) > 0).all()
    assert len(scores) == len(fractions)
    assert all(0 <= score <= 1 for score in scores)
    assert distiller.fraction_ in fractions


@pytest.mark.parametrize(("validation_fraction", "n_held_out"), [(0.1, 30), (0.5, 150)])
def test_validation_fraction_sets_the_number_of_rows_held_out(
    rows, validation_fraction, n_held_out, monkeypatch
):
    counts = []

    def counted(new_fit, held_out, plan, tol):
        counts.append((new_fit(plan).samples.n_rows, held_out.n_rows))
        return select_fraction(new_fit, held_out, plan, tol)

    monkeypatch.setattr("skperco.training._two_stage.select_fraction", counted)
    small(validation_fraction=validation_fraction).fit(rows)
    assert counts == [(300 - n_held_out, n_held_out)]
