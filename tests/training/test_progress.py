from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from builders import small
from sklearn.base import clone
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.model_selection import GridSearchCV

from skperco import PerceptionCoherenceScorer
from skperco.datasets import load_wordnet_glosses
from skperco.training._progress import Forecast


@pytest.fixture(scope="module")
def rows():
    return load_wordnet_glosses().data[:300]


small = partial(small, max_iter=25)


def monitor_of(**options):
    return ScoringMonitor(scoring={"coherence": PerceptionCoherenceScorer(**options)})


class Recorder:
    """Records tasks and students; stops the rounds after a given one."""

    def __init__(self, stop_after=None):
        self.stop_after = stop_after
        self.tasks = []
        self.students = []

    def setup(self, estimator, context):
        self.tasks.append("setup")

    def on_fit_task_begin(self, estimator, context):
        self.tasks.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator, metadata):
        self.tasks.append(f"end {context.task_name}")
        self.students.append((X, y, metadata, fitted_estimator))
        return context.task_name == "round" and context.task_id == self.stop_after

    def teardown(self, estimator, context):
        self.tasks.append("teardown")


def test_callbacks_are_called_for_every_round_of_every_student(rows):
    recorder = Recorder()
    small(early_stopping=False).set_callbacks(recorder).fit(rows)
    one_round = ["begin round", "end round"]
    student = ["begin student", *10 * one_round, "end student"]
    assert recorder.tasks == ["setup", "begin fit", *student, "end fit", "teardown"]
    recorder = Recorder()
    small().set_callbacks(recorder).fit(rows)
    assert recorder.tasks.count("begin student") >= 2
    assert recorder.tasks.count("begin round") == 10 * recorder.tasks.count("begin student")


@pytest.mark.parametrize("student", ["linear", "mlp"])
def test_callbacks_receive_the_student_of_every_round(rows, student):
    recorder = Recorder()
    distiller = small(early_stopping=False, student=student).set_callbacks(recorder).fit(rows)
    embedded = []
    for X, y, metadata, fitted in recorder.students:
        np.testing.assert_array_equal(X, rows)
        np.testing.assert_array_equal(y, rows)
        assert metadata is None
        embedded.append(fitted.transform(rows))
    for before, after in pairwise(embedded[:10]):
        assert np.abs(before - after).max() > 0
    for last in embedded[-3:]:
        np.testing.assert_array_equal(last, distiller.transform(rows))


def test_callbacks_do_not_change_the_result(rows):
    watched = small().set_callbacks(Recorder(), monitor_of()).fit(rows)
    np.testing.assert_array_equal(watched.transform(rows), small().fit(rows).transform(rows))


def test_callbacks_receive_the_weights_and_the_teacher(rows):
    weights = np.random.default_rng(0).uniform(1, 2, len(rows))
    teacher = rows[:, ::-1].copy()
    recorder = Recorder()
    small().set_callbacks(recorder).fit(rows, teacher, sample_weight=weights)
    for X, y, metadata, _ in recorder.students:
        np.testing.assert_array_equal(X, rows)
        np.testing.assert_array_equal(y, teacher)
        np.testing.assert_array_equal(metadata["sample_weight"], weights)


def test_a_callback_can_stop_training(rows):
    distiller = small(early_stopping=False).set_callbacks(Recorder(stop_after=3)).fit(rows)
    # The 25 steps are divided into rounds of 3 and 2 steps.
    assert len(distiller.loss_curve_) == 12
    assert len(small(early_stopping=False).fit(rows).loss_curve_) == 25


def test_max_iter_zero_has_no_rounds(rows):
    recorder = Recorder()
    small(max_iter=0).set_callbacks(recorder).fit(rows)
    assert recorder.tasks == ["setup", "begin fit", "end fit", "teardown"]


def test_a_scoring_monitor_records_a_score_for_every_round(rows):
    monitor = monitor_of()
    distiller = small(early_stopping=False).set_callbacks(monitor).fit(rows)
    log = monitor.get_logs().data
    scores = [entry["coherence"] for entry in log if entry["task_name"] == "round"]
    assert len(scores) == 10
    assert scores[-1] == pytest.approx(distiller.score(rows))
    assert len(set(scores)) > 5


def test_a_scoring_monitor_uses_the_options_of_its_scorer(rows):
    monitor = monitor_of(metric="euclidean")
    distiller = small(early_stopping=False).set_callbacks(monitor).fit(rows)
    last = monitor.get_logs().data[-1]["coherence"]
    assert last == pytest.approx(PerceptionCoherenceScorer(metric="euclidean")(distiller, rows))


def test_a_scoring_monitor_records_every_fit_of_a_search(rows):
    monitor = monitor_of()
    distiller = small(early_stopping=False).set_callbacks(monitor)
    GridSearchCV(distiller, {"n_components": [2, 4]}, cv=2).fit(rows)
    log = monitor.get_logs().data
    assert sum(entry["task_name"] == "round" for entry in log) == 10 * (2 * 2 + 1)


@pytest.mark.parametrize("search", [False, True])
def test_a_progress_bar_shows_the_fit(rows, search, capsys):
    pytest.importorskip("rich")
    estimator = small(early_stopping=False)
    if search:
        estimator = GridSearchCV(estimator, {"n_components": [2, 4]}, cv=2)
    estimator.set_callbacks(ProgressBar()).fit(rows)
    assert "CoherenceDistiller" in capsys.readouterr().out


def test_callbacks_are_called_for_every_batch_of_a_stream(rows):
    recorder = Recorder()
    distiller = small().set_callbacks(recorder)
    for batch in np.array_split(rows, 2):
        distiller.partial_fit(batch)
    assert recorder.tasks.count("begin fit") == recorder.tasks.count("teardown") == 2


def test_a_clone_keeps_the_callbacks(rows):
    recorder = Recorder()
    clone(small().set_callbacks(recorder)).fit(rows)
    assert recorder.tasks


def test_a_line_is_printed_for_every_round(rows, capsys):
    small(early_stopping=False, verbose=True).fit(rows)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("[CoherenceDistiller] step 3/25, loss ")
    small(early_stopping=False).fit(rows)
    assert capsys.readouterr().out == ""


def test_forecast_counts_the_remaining_steps_and_the_final_fit():
    now = iter([100.0, 103.0, 104.0, 107.0, 107.0, 110.0, 111.0])
    forecast = Forecast(2, clock=lambda: next(now))
    forecast.begin_steps()
    # A step took one second and the closed form three: 3 more steps, then 3 + 4 seconds again.
    assert forecast.seconds_left(1, 4) == 10
    assert forecast.seconds_left(4, 4) == 7
    forecast.end_steps()
    forecast.begin_steps()
    assert forecast.seconds_left(1, 4) == 3


def test_rounds_are_logged_only_at_level_info(rows, caplog, capsys):
    small().fit(rows)
    assert not caplog.records
    caplog.set_level("INFO", logger="skperco")
    small(early_stopping=False).fit(rows)
    assert len(caplog.messages) == 10
    assert all("loss" in message for message in caplog.messages)
    assert capsys.readouterr() == ("", "")
