import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.decomposition import PCA, TruncatedSVD

from skperco import (
    CoherenceCurveDisplay,
    CoherenceMatrixDisplay,
    coherence_curve,
    pairwise_perception_coherence,
)

TEACHER = np.random.default_rng(0).normal(size=(60, 6))
STUDENTS = {"three": TEACHER[:, :3], "five": TEACHER[:, :5]}


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_display_has_a_line_for_each_student():
    display = CoherenceCurveDisplay.from_embeddings(TEACHER, STUDENTS, metric="euclidean")
    assert [line.get_label() for line in display.lines_] == ["three", "five"]
    for line, student in zip(display.lines_, STUDENTS.values(), strict=True):
        curve = coherence_curve(TEACHER, student, metric="euclidean")
        np.testing.assert_allclose(line.get_xdata(), 100 * curve.percentiles)
        np.testing.assert_allclose(line.get_ydata(), curve.coherences)
    assert len({line.get_color() for line in display.lines_}) == 2
    assert display.figure_ is display.ax_.figure


def test_name_is_the_label_of_a_single_student():
    display = CoherenceCurveDisplay.from_embeddings(TEACHER, TEACHER[:, :3], name="small")
    assert [line.get_label() for line in display.lines_] == ["small"]


def test_from_estimator_plots_the_curves_of_transformed_rows():
    fitted = {"PCA": PCA(3).fit(TEACHER), "SVD": TruncatedSVD(3).fit(TEACHER)}
    display = CoherenceCurveDisplay.from_estimator(fitted, TEACHER)
    expected = coherence_curve(TEACHER, fitted["SVD"].transform(TEACHER))
    np.testing.assert_allclose(display.lines_[1].get_ydata(), expected.coherences)
    alone = CoherenceCurveDisplay.from_estimator(fitted["PCA"], TEACHER[:, :6], 2 * TEACHER)
    assert alone.lines_[0].get_label() == "PCA"


def test_second_plot_on_the_same_axes_uses_another_color():
    _, ax = plt.subplots()
    first = CoherenceCurveDisplay.from_embeddings(TEACHER, STUDENTS["three"], ax=ax)
    second = CoherenceCurveDisplay.from_embeddings(
        TEACHER, STUDENTS["five"], ax=ax, curve_kwargs={"linewidth": 3}
    )
    assert second.ax_ is ax
    assert first.lines_[0].get_color() != second.lines_[0].get_color()
    assert second.lines_[0].get_linewidth() == 3


def test_matrix_display_puts_similar_representations_next_to_each_other():
    noise = np.random.default_rng(1).normal(size=(60, 4))
    models = {"a": TEACHER, "noise": noise, "b": TEACHER[:, :5], "more noise": noise[:, :3]}
    display = CoherenceMatrixDisplay.from_representations(models)
    names = [display.names[i] for i in display.order_]
    assert abs(names.index("a") - names.index("b")) == 1
    assert abs(names.index("noise") - names.index("more noise")) == 1
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == names
    matrix = pairwise_perception_coherence(models)
    shown = matrix[np.ix_(display.order_, display.order_)]
    np.testing.assert_allclose(display.image_.get_array(), shown)
    assert [text.get_text() for text in display.ax_.texts] == [f"{x:.2f}" for x in shown.ravel()]


def test_representations_without_names_are_named_by_their_indices():
    display = CoherenceMatrixDisplay.from_representations([TEACHER, TEACHER[:, :3]])
    assert display.names == ["0", "1"]


def test_matrix_with_undefined_entries_is_plotted():
    display = CoherenceMatrixDisplay.from_representations([np.ones((60, 2)), TEACHER])
    assert sorted(display.order_) == [0, 1]


def test_error_without_matplotlib_names_the_extra_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"skperco\[plot\]"):
        CoherenceCurveDisplay.from_embeddings(TEACHER, STUDENTS)
