"""Warm starts, interrupted fits and pickles."""

import pickle
import subprocess
import sys
import warnings
from functools import partial
from itertools import product

import joblib
import numpy as np
import pytest
from builders import small
from sklearn.exceptions import ConvergenceWarning

from skperco.datasets import load_wordnet_glosses
from skperco.training import _early_stopping

STUDENTS = pytest.mark.parametrize("student", ["linear", "mlp"])
KINDS = pytest.mark.parametrize("kind", ["compression", "transfer"])


@pytest.fixture(scope="module")
def rows():
    return load_wordnet_glosses().data[:400]


def columns_of(kind, rows):
    return (rows,) if kind == "compression" else (rows[:, ::2], rows)


small = partial(small, max_iter=20)


# Warm starts


@KINDS
@STUDENTS
def test_a_warm_start_resumes_from_the_last_student(rows, student, kind):
    columns = columns_of(kind, rows)
    distiller = small(student=student, warm_start=True, early_stopping=False).fit(*columns)
    before = distiller.transform(columns[0])
    distiller.set_params(max_iter=0).fit(*columns)
    np.testing.assert_array_equal(distiller.transform(columns[0]), before)
    distiller.set_params(max_iter=20).fit(*columns)
    after = distiller.transform(columns[0])
    first_again = small(student=student, early_stopping=False).fit(*columns)
    np.testing.assert_array_equal(first_again.transform(columns[0]), before)
    assert np.abs(after - before).max() > 1e-4


def test_without_a_warm_start_a_second_fit_equals_the_first(rows):
    distiller = small().fit(rows)
    before = distiller.transform(rows)
    np.testing.assert_array_equal(distiller.fit(rows).transform(rows), before)


def test_the_first_fit_with_warm_start_equals_a_cold_start(rows):
    np.testing.assert_array_equal(
        small(warm_start=True).fit(rows).transform(rows), small().fit(rows).transform(rows)
    )


def test_a_warm_start_keeps_the_number_of_components(rows):
    distiller = small(n_components=None, warm_start=True).fit(rows)
    assert distiller.fit(rows[:50]).n_components_ == 64


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_components": 5}, "n_components cannot change from 4 to 5"),
        ({"student": "linear"}, "student cannot change from 'mlp' to 'linear'"),
        ({"hidden_layer_sizes": (8,)}, r"hidden_layer_sizes cannot change from \(16,\) to \(8,\)"),
    ],
)
def test_a_warm_start_refuses_another_student(rows, changed, message):
    distiller = small(student="mlp", warm_start=True).fit(rows)
    before = distiller.transform(rows)
    with pytest.raises(ValueError, match=message):
        distiller.set_params(**changed).fit(rows)
    np.testing.assert_array_equal(distiller.transform(rows), before)


def test_a_warm_start_refuses_another_number_of_features(rows):
    distiller = small(warm_start=True).fit(rows)
    with pytest.raises(ValueError, match=r"X has 7 features, but CoherenceDistiller.* 384"):
        distiller.fit(rows[:, :7])


# Interruptions


class Interrupting:
    """Interrupts a fit after n_rounds rounds, as Ctrl+C does."""

    def __init__(self, n_rounds):
        self.left = n_rounds

    def setup(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        self.left -= context.task_name == "round"
        if self.left == 0:
            self.left = -1
            raise KeyboardInterrupt

    def teardown(self, estimator, context):
        pass


def interrupted(distiller, n_rounds, *columns):
    with pytest.warns(ConvergenceWarning, match="interrupted and returns the best student"):
        return distiller.set_callbacks(Interrupting(n_rounds)).fit(*columns)


@KINDS
@STUDENTS
def test_an_interrupted_fit_without_early_stopping_keeps_the_current_student(rows, student, kind):
    columns = columns_of(kind, rows)
    distiller = interrupted(small(student=student, early_stopping=False), 4, *columns)
    assert len(distiller.loss_curve_) == 8
    found = distiller.transform(columns[0])
    for other in (small(student=student, max_iter=0), small(student=student)):
        assert np.abs(found - other.fit(*columns).transform(columns[0])).max() > 1e-6
    assert distiller.score(*columns) > 0.5


@KINDS
def test_an_interrupted_validation_fit_is_scored_and_kept(rows, kind):
    columns = columns_of(kind, rows)
    distiller = interrupted(small(), 5, *columns)
    assert distiller.loss_curve_ == []
    assert distiller.validation_scores_ is not None
    assert distiller.transform(columns[0]).shape == (400, 4)
    assert distiller.score(*columns) > 0.6


def test_an_interrupted_final_fit_keeps_the_student_of_the_validation_fit(rows, monkeypatch):
    distiller = small(rank_power=1.0)
    results = []
    evaluate = _early_stopping._evaluate

    def spy(*given):
        results.append(evaluate(*given))
        return results[-1]

    monkeypatch.setattr(_early_stopping, "_evaluate", spy)
    # The validation fit has ten rounds, so the eleventh belongs to the final fit.
    interrupted(distiller, 11, rows)
    assert len(results) == 1
    expected = {name: value.numpy() for name, value in results[0].student.state_dict().items()}
    for name, value in distiller.student_.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), expected[name])
    assert distiller.fraction_ == results[0].fraction


def test_a_warm_start_resumes_an_interrupted_fit(rows):
    distiller = interrupted(small(early_stopping=False, warm_start=True), 3, rows)
    before = distiller.loss_curve_[0]
    distiller.set_callbacks().fit(rows)
    assert len(distiller.loss_curve_) == 20
    assert distiller.loss_curve_[0] < before


@pytest.mark.parametrize(
    "function",
    ["closed_form._initialization.top_singular_vectors", "training._teacher.Teacher.nearest"],
)
def test_an_interruption_keeps_the_closed_form_or_leaves_the_estimator_unfitted(
    rows, function, monkeypatch
):
    calls = []

    def interrupt(*_, **__):
        calls.append(function)
        raise KeyboardInterrupt

    monkeypatch.setattr(f"skperco.{function}", interrupt)
    distiller = small()
    if function.startswith("closed_form"):
        with pytest.raises(KeyboardInterrupt):
            distiller.fit(rows)
        assert not hasattr(distiller, "student_")
        return
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        distiller.fit(rows)
    np.testing.assert_allclose(
        distiller.score(rows), small(max_iter=0).fit(rows[:360]).score(rows), atol=0.05
    )
    assert len(calls) == 1


def test_an_uninterrupted_fit_raises_no_warning(rows):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small().fit(rows)


# Pickles


def test_a_pickled_estimator_returns_the_same_embeddings_in_another_process(rows, tmp_path):
    expected = {}
    for student, kind in product(("linear", "mlp"), ("compression", "transfer")):
        columns = columns_of(kind, rows)
        distiller = small(student=student).fit(*columns)
        (tmp_path / f"{student} {kind}.pickle").write_bytes(pickle.dumps(distiller))
        joblib.dump(distiller, tmp_path / f"{student} {kind}.joblib")
        np.save(tmp_path / f"{student} {kind}.rows.npy", columns[0])
        expected[f"{student} {kind}"] = distiller.transform(columns[0])
    script = """
import pickle, joblib, numpy as np, pathlib
for path in pathlib.Path().glob("*.pickle"):
    rows = np.load(f"{path.stem}.rows.npy")
    for suffix, load in (("pickle", pickle.load), ("joblib", joblib.load)):
        with open(f"{path.stem}.{suffix}", "rb") as file:
            np.save(f"{path.stem}.{suffix}.npy", load(file).transform(rows))
"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    for name, suffix in product(expected, ("pickle", "joblib")):
        found = np.load(tmp_path / f"{name}.{suffix}.npy")
        np.testing.assert_allclose(found, expected[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize("n_batches", [1, 2])
def test_a_pickled_stream_resumes_with_the_same_results(rows, n_batches):
    distiller = small()
    for batch in np.split(rows[:200], n_batches):
        distiller.partial_fit(batch)
    again = pickle.loads(pickle.dumps(distiller))
    for one in (distiller, again):
        one.partial_fit(rows[200:])
    np.testing.assert_array_equal(again.transform(rows), distiller.transform(rows))
