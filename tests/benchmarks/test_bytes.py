"""The benchmark of codes: its scores, its bound, and the bytes that methods take."""

import csv
import importlib
import sys

import numpy as np
import pytest
from rivals.cases import Case, Rows
from rivals.code_evaluation import CODED_RECALL, COHERENCE, RECALL, SCORES, GaussianBound, Judge
from rivals.codes import METHODS, Decoded

pytest.importorskip("faiss")
FIT, TEST = 400, 200


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((FIT + TEST, 16)) * np.linspace(2, 0.3, 16)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return rows[:FIT], rows[FIT:]


def test_a_code_without_error_scores_one(rows):
    scores = Judge(rows[1], "cosine").scores(Decoded(64, lambda X: X, lambda X: X))
    assert all(scores[name] == pytest.approx(1) for name in SCORES)


def test_a_code_of_noise_scores_as_chance(rows):
    noise = np.random.default_rng(1).standard_normal(rows[1].shape).astype(np.float32)
    judge = Judge(rows[1], "cosine")

    def decode(X):
        return noise[: len(X)]

    scores = judge.scores(Decoded(64, lambda X: X, decode))
    assert scores[COHERENCE] == pytest.approx(0.5, abs=0.05)
    assert scores[RECALL] == pytest.approx(10 / TEST, abs=0.03)


def test_the_bound_keeps_more_with_more_bytes_up_to_everything(rows):
    judge = Judge(rows[1], "cosine")
    recalls = [judge.scores(GaussianBound.of(rows[0], n))[CODED_RECALL] for n in (1, 4, 16, 64)]
    assert recalls == sorted(recalls)
    assert recalls[0] < 0.5
    assert recalls[-1] > 0.99


def test_the_bound_has_the_error_of_the_rate_distortion_function():
    rng = np.random.default_rng(0)
    # Four dimensions of equal variance share 16 bits: an error of 4^-4 of the variance.
    gaussian = rng.standard_normal((20_000, 4))
    bound = GaussianBound.of(gaussian, 2)
    rotated = gaussian @ bound.vectors
    error = ((rotated - bound._decode(gaussian)) ** 2).mean()
    assert error == pytest.approx(4.0**-4, rel=0.05)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("n_bytes", [3, 8, 32])
def test_no_method_takes_more_than_the_budget(rows, name, n_bytes):
    module = importlib.import_module("bytes")
    if not module._is_available(name, "cosine"):
        pytest.skip("not installed")
    judge = Judge(rows[1], "cosine")
    # The longest fits are those of all dimensions.
    for setting in METHODS[name].settings(n_bytes, 16)[:1]:
        scores = module._run(judge, rows[0], n_bytes, name, setting)
        assert scores["bytes"] <= n_bytes
        assert 0 < scores[RECALL] <= 1


@pytest.mark.parametrize("rivals", [["float32", "FAISS SQ"], []])
def test_the_report_shows_each_budget(rows, rivals, monkeypatch, tmp_path, capsys):
    module = importlib.import_module("bytes")
    parts = [Rows(part, part, None) for part in rows]
    case = Case("made up", "cosine", *parts, compression=True)
    monkeypatch.setattr(module, "_cases", lambda options: [case])
    arguments = ["--bytes", "4", "8", "--n-jobs", "1", "--output", str(tmp_path)]
    arguments += ["--methods", *rivals, "CoherenceQuantizer"]
    monkeypatch.setattr(sys, "argv", ["bytes.py", *arguments])
    module.main()
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "bytes.md").read_text(encoding="utf-8") + "\n"
    for n_bytes in (4, 8):
        assert f"### made up, {n_bytes} bytes" in printed
    assert "bound for Gaussian rows" in printed
    assert (tmp_path / "bytes.png").stat().st_size > 10_000
    for kind in ("exact", "coded"):
        with (tmp_path / f"made up_{kind}.csv").open(encoding="utf-8", newline="") as file:
            header, *grid = csv.reader(file)
        assert header == ["method", "4 bytes", "8 bytes"]
        assert "CoherenceQuantizer" in [method for method, *_ in grid]
        assert all(len(cells) == len(header) for cells in grid)
