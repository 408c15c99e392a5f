"""Callable metrics: errors about nan, and the types that they may return."""

import numpy as np
import pytest
import torch
from builders import small

from skperco import (
    coherence_curve,
    neighbor_recall_score,
    pairwise_dissimilarity,
    pairwise_perception_coherence,
    perception_coherence_interval,
    perception_coherence_samples,
    perception_coherence_score,
    perception_coherence_test,
)

# Enough rows for some of them to be held out.
ROWS = np.random.default_rng(0).normal(size=(240, 8)).astype(np.float32)
TEACHER = np.random.default_rng(1).normal(size=(240, 5)).astype(np.float32)


def distances(anchors, references):
    return torch.cdist(anchors, references)


def with_nan(anchors, references):
    """Distances, of which the first is nan."""
    found = torch.cdist(anchors, references)
    is_first = torch.arange(found.numel()).view_as(found) == 0
    return torch.where(is_first, torch.nan, found)


def quick(**parameters):
    return small(batch_size=8, n_references=16, max_iter=2, **parameters)


FITS = {
    "metric": (lambda metric: quick(metric=metric, teacher_metric="cosine").fit(ROWS), "metric"),
    "teacher_metric": (lambda metric: quick(teacher_metric=metric).fit(ROWS), "teacher_metric"),
    "teacher_metric of a teacher": (
        lambda metric: quick(teacher_metric=metric).fit(ROWS, TEACHER),
        "teacher_metric",
    ),
    "teacher_metric without held-out rows": (
        lambda metric: quick(teacher_metric=metric, early_stopping=False).fit(ROWS),
        "teacher_metric",
    ),
    "metric without held-out rows": (
        lambda metric: quick(metric=metric, teacher_metric="cosine", early_stopping=False).fit(
            ROWS
        ),
        "metric",
    ),
}
SCORES = {
    "score": perception_coherence_score,
    "samples": perception_coherence_samples,
    "interval": perception_coherence_interval,
    "recall": neighbor_recall_score,
    "curve": coherence_curve,
    "test": lambda teacher, student, **metrics: perception_coherence_test(
        teacher, student, student, **metrics
    ),
}


@pytest.mark.parametrize(("fit", "name"), FITS.values(), ids=FITS.keys())
def test_the_error_of_fit_names_the_metric_that_returned_nan(fit, name):
    fit(distances)
    with pytest.raises(ValueError, match=rf"\b{name} must return .*nan"):
        fit(with_nan)


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES.keys())
def test_the_error_of_a_score_names_the_metric_that_returned_nan(score):
    for metrics, name in (
        ({"metric": with_nan, "teacher_metric": "cosine"}, "student"),
        ({"teacher_metric": with_nan}, "teacher"),
    ):
        with pytest.raises(ValueError, match=f"metric of {name} must return .*nan"):
            score(ROWS, TEACHER, **metrics)


def test_the_error_of_pairwise_scores_names_the_metric_that_returned_nan():
    with pytest.raises(ValueError, match=r"metric of .*representations.* must return .*nan"):
        pairwise_perception_coherence([ROWS, TEACHER], metric=with_nan)


RETURNS = {
    "tensor": distances,
    "array": lambda anchors, references: distances(anchors, references).detach().numpy(),
    "list": lambda anchors, references: distances(anchors, references).tolist(),
}


@pytest.mark.parametrize("function", RETURNS.values(), ids=RETURNS.keys())
def test_a_callable_metric_may_return_a_tensor_array_or_list(function):
    rows = torch.from_numpy(ROWS[:5]).double()
    expected = torch.cdist(rows, rows)
    torch.testing.assert_close(
        pairwise_dissimilarity(rows, rows, metric=function), expected, check_dtype=False
    )
    found = perception_coherence_score(ROWS, TEACHER, teacher_metric=function, metric="cosine")
    assert found == perception_coherence_score(
        ROWS, TEACHER, teacher_metric=distances, metric="cosine"
    )
    fits = [quick(teacher_metric=metric).fit(ROWS, TEACHER) for metric in (function, distances)]
    np.testing.assert_allclose(*(fit.transform(ROWS) for fit in fits), atol=1e-5)
