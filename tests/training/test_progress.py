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
    """Keeps what it is told, and stops the rounds of a student when told to."""

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


def test_callbacks_see_every_round_of_every_student(rows):
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
def test_callbacks_see_students_that_move_from_round_to_round(rows, student):
    recorder = Recorder()
    distiller = small(early_stopping=False, student=student).set_callbacks(recorder).fit(rows)
    images = []
    for X, y, metadata, fitted in recorder.students:
        np.testing.assert_array_equal(X, rows)
        np.testing.assert_array_equal(y, rows)
        assert metadata is None
        images.append(fitted.transform(rows))
    for before, after in pairwise(images[:10]):
        assert np.abs(before - after).max() > 0
    for last in images[-3:]:
        np.testing.assert_array_equal(last, distiller.transform(rows))


def test_watching_changes_nothing(rows):
    watched = small().set_callbacks(Recorder(), monitor_of()).fit(rows)
    np.testing.assert_array_equal(watched.transform(rows), small().fit(rows).transform(rows))


def test_callbacks_are_told_the_weights_and_the_teacher(rows):
    weights = np.random.default_rng(0).uniform(1, 2, len(rows))
    teacher = rows[:, ::-1].copy()
    recorder = Recorder()
    small().set_callbacks(recorder).fit(rows, teacher, sample_weight=weights)
    for X, y, metadata, _ in recorder.students:
        np.testing.assert_array_equal(X, rows)
        np.testing.assert_array_equal(y, teacher)
        np.testing.assert_array_equal(metadata["sample_weight"], weights)


def test_a_callback_can_stop_the_steps(rows):
    distiller = small(early_stopping=False).set_callbacks(Recorder(stop_after=3)).fit(rows)
    # The 25 steps come in rounds of 3 and 2.
    assert len(distiller.loss_curve_) == 12
    assert len(small(early_stopping=False).fit(rows).loss_curve_) == 25


def test_no_steps_are_no_rounds(rows):
    recorder = Recorder()
    small(max_iter=0).set_callbacks(recorder).fit(rows)
    assert recorder.tasks == ["setup", "begin fit", "end fit", "teardown"]


def test_a_scoring_monitor_follows_the_fit(rows):
    monitor = monitor_of()
    distiller = small(early_stopping=False).set_callbacks(monitor).fit(rows)
    log = monitor.get_logs().data
    scores = [entry["coherence"] for entry in log if entry["task_name"] == "round"]
    assert len(scores) == 10
    assert scores[-1] == pytest.approx(distiller.score(rows))
    assert len(set(scores)) > 5


def test_a_scoring_monitor_takes_the_scorer_of_any_transformer(rows):
    monitor = monitor_of(metric="euclidean")
    distiller = small(early_stopping=False).set_callbacks(monitor).fit(rows)
    last = monitor.get_logs().data[-1]["coherence"]
    assert last == pytest.approx(PerceptionCoherenceScorer(metric="euclidean")(distiller, rows))


def test_a_scoring_monitor_follows_every_fit_of_a_search(rows):
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


def test_callbacks_watch_the_batches_of_a_stream(rows):
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


def test_what_is_left_is_the_steps_to_come_and_the_students_after_them():
    now = iter([100.0, 103.0, 104.0, 107.0, 107.0, 110.0, 111.0])
    forecast = Forecast(2, clock=lambda: next(now))
    forecast.begin_steps()
    # One of four steps took a second, and the closed form three: 3 more steps, and 3 + 4 again.
    assert forecast.seconds_left(1, 4) == 10
    assert forecast.seconds_left(4, 4) == 7
    forecast.end_steps()
    forecast.begin_steps()
    assert forecast.seconds_left(1, 4) == 3


def test_the_log_is_silent_unless_somebody_listens(rows, caplog, capsys):
    small().fit(rows)
    assert not caplog.records
    caplog.set_level("INFO", logger="skperco")
    small(early_stopping=False).fit(rows)
    assert len(caplog.messages) == 10
    assert all("loss" in message for message in caplog.messages)
    assert capsys.readouterr() == ("", "")
