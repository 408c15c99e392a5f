"""Callbacks and printed progress of the fit of a quantizer."""

import pytest
from sklearn.callback import ScoringMonitor
from sklearn.model_selection import GridSearchCV

from skperco import CoherenceQuantizer, PerceptionCoherenceScorer


class Recorder:
    """Records the names of the tasks that end."""

    def __init__(self):
        self.ended = []

    def setup(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        self.ended.append(context.task_name)

    def teardown(self, estimator, context):
        pass


def quantizer(**parameters):
    given = {"n_bytes": 8, "method": "product", "random_state": 0, "device": "cpu"}
    return CoherenceQuantizer(**(given | parameters))


def coherence_monitor():
    return ScoringMonitor(scoring={"coherence": PerceptionCoherenceScorer()})


def test_callbacks_are_called_for_every_candidate_and_the_final_fit(embeddings):
    recorder = Recorder()
    fitted = quantizer().set_callbacks(recorder).fit(embeddings[:400])
    assert recorder.ended == ["part"] * (len(fitted.validation_scores_) + 1) + ["fit"]


def test_callbacks_do_not_change_the_codes(embeddings):
    plain, watched = quantizer(), quantizer().set_callbacks(coherence_monitor())
    codes = [one.fit(embeddings[:400]).encode(embeddings) for one in (plain, watched)]
    assert (codes[0] == codes[1]).all()


def test_a_scoring_monitor_records_the_score_of_the_fitted_quantizer(embeddings):
    monitor, rows = coherence_monitor(), embeddings[:400]
    fitted = quantizer().set_callbacks(monitor).fit(rows)
    (entry,) = monitor.get_logs().data
    assert entry["task_name"] == "fit"
    assert entry["coherence"] == pytest.approx(PerceptionCoherenceScorer()(fitted, rows))


def test_a_scoring_monitor_records_every_fit_of_a_search(embeddings):
    monitor = coherence_monitor()
    estimator = quantizer(n_components=16).set_callbacks(monitor)
    GridSearchCV(estimator, {"n_bytes": [4, 8]}, cv=2).fit(embeddings[:400])
    assert [entry["task_name"] for entry in monitor.get_logs().data].count("fit") == 2 * 2 + 1


def test_a_line_is_printed_for_every_candidate(embeddings, capsys):
    fitted = quantizer(verbose=True).fit(embeddings[:400])
    assert capsys.readouterr().out.count("score") == len(fitted.validation_scores_)
