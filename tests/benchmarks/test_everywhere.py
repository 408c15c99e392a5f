"""The benchmark of the margins over closed forms."""

import everywhere
import pytest
from rivals.evaluation import COHERENCE, RECALL


def test_margins_are_over_the_best_closed_form_for_each_score(monkeypatch, capsys):
    figures = {
        "pca": {COHERENCE: 0.7, RECALL: 0.5},
        "svd": {COHERENCE: 0.8, RECALL: 0.4},
        "distiller": {COHERENCE: 0.81, RECALL: 0.48},
    }
    monkeypatch.setattr(everywhere, "_SETTINGS", {("tumors", "euclidean"): (2,)})
    monkeypatch.setattr(everywhere, "evaluate", lambda case, embed: figures[embed])
    for name in figures:
        method = everywhere.METHODS[name]._replace(fit=lambda task, name=name: name)
        monkeypatch.setitem(everywhere.METHODS, name, method)
    everywhere.main()
    out = capsys.readouterr().out
    assert "| tumors | euclidean | 2 | 0.8100 | +0.0100 | 0.4800 | -0.0200 |" in out
    assert out.strip().endswith("coherence +0.0100, recall@10 -0.0200.")


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("tumors", "euclidean"),
        ("digits", "cosine"),
        pytest.param("glosses-words", "cosine", marks=pytest.mark.slow),
    ],
)
def test_setting_runs(name, metric, monkeypatch, capsys):
    monkeypatch.setattr(everywhere, "_SETTINGS", {(name, metric): (2,)})
    monkeypatch.setattr(everywhere, "_STEPS", 2)
    monkeypatch.setattr(everywhere, "_RIDGE_STRENGTHS", (1.0,))
    everywhere.main()
    assert f"| {name} | {metric} | 2 |" in capsys.readouterr().out
