"""The closed form, from which training starts."""

import numpy as np
import pytest
from builders import small

STUDENTS = pytest.mark.parametrize("student", ["linear", "mlp"])


@pytest.mark.parametrize("early_stopping", [False, True])
def test_closed_form_of_a_compression_is_the_truncated_svd_of_all_rows(rows, early_stopping):
    # The final fit uses all rows, those held out for validation included.
    found = small(max_iter=0, early_stopping=early_stopping).fit_transform(rows)
    vectors = np.linalg.svd(rows, full_matrices=False)[2][:4]
    expected = rows @ vectors.T
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=0.01)


@STUDENTS
def test_max_iter_zero_keeps_the_closed_form(rows, student):
    distiller = small(max_iter=0, student=student).fit(rows)
    linear = small(max_iter=0).fit(rows)
    np.testing.assert_array_equal(distiller.transform(rows), linear.transform(rows))
    assert distiller.n_iter_ == 1
    assert distiller.loss_curve_ == []
    assert distiller.validation_scores_ is None
    assert distiller.validation_fractions_ is None
    assert distiller.fraction_ == 0


@pytest.mark.parametrize("early_stopping", [False, True])
@STUDENTS
@pytest.mark.parametrize(
    ("metric", "teacher_metric"),
    [("cosine", "cosine"), ("euclidean", "euclidean"), ("euclidean", "sqeuclidean")],
)
def test_an_exact_closed_form_is_not_trained(rows, metric, teacher_metric, student, early_stopping):
    parameters = {"metric": metric, "teacher_metric": teacher_metric, "student": student}
    distiller = small(None, early_stopping=early_stopping, **parameters).fit(rows[:, :12])
    assert distiller.loss_curve_ == []
    assert distiller.fraction_ == 0
    assert distiller.score(rows[:, :12].astype(np.float64)) > 1 - 1e-6


@pytest.mark.parametrize(
    ("metric", "teacher_metric"),
    [("manhattan", "manhattan"), ("correlation", "correlation"), ("cosine", "euclidean")],
)
def test_a_closed_form_that_is_not_exact_is_trained(rows, metric, teacher_metric):
    parameters = {"metric": metric, "teacher_metric": teacher_metric, "early_stopping": False}
    distiller = small(None, **parameters).fit(rows[:, :12])
    assert len(distiller.loss_curve_) == distiller.max_iter
    assert distiller.fraction_ == 1
