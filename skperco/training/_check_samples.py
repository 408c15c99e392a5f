"""Checks of the arguments of a fit."""

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

from skperco.dissimilarity._dense import ANGULAR_METRICS
from skperco.training._samples import Samples
from skperco.utils._chunking import is_mapped
from skperco.utils._types import Metric, Rows
from skperco.utils._validation import (
    check_embeddings,
    check_magnitude,
    check_same_rows,
    check_sample_weight,
    check_sparse_metric,
)


def check_samples(
    X: Rows,
    teacher: Any,
    teacher_metric: Metric,
    sample_weight: ArrayLike | None,
    *,
    min_samples: int,
) -> Samples:
    """Check the arguments of a fit and return Samples.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
        Checked already.
    teacher : array-like of shape (n_samples, n_teacher_features) or None
        None if X is its own teacher.
    teacher_metric : str or callable
    sample_weight : array-like of shape (n_samples,) or None
    min_samples : int
        Smallest number of samples of positive weight.

    Returns
    -------
    samples : Samples
    """
    if X.dtype.kind == "f":
        check_magnitude(X, "X")
    weight = check_sample_weight(sample_weight, X.shape[0])
    if np.count_nonzero(weight) < min_samples:
        raise ValueError(
            f"sample_weight must be positive for at least {min_samples} rows, "
            f"got {np.count_nonzero(weight)}."
        )
    if teacher is None:
        _check_own_teacher(X, teacher_metric)
    else:
        teacher = _checked_teacher(teacher, teacher_metric, X)
    samples = Samples(X, weight, teacher, teacher_metric)
    if weight.all() or is_mapped(X) or is_mapped(teacher):
        return samples
    return samples.take(samples.rows)


def _check_own_teacher(X: Rows, metric: Metric) -> None:
    if metric == "precomputed":
        raise ValueError(
            "teacher_metric='precomputed' needs the dissimilarity matrix of the teacher: "
            "pass it as teacher_embeddings."
        )
    if X.ndim != 2:
        raise ValueError(
            f"teacher_embeddings is required when X is not 2-dimensional, got X.shape={X.shape}."
        )
    if sp.issparse(X):
        check_sparse_metric(metric, "X as its own teacher")


def _checked_teacher(teacher: Any, metric: Metric, X: Rows) -> Rows:
    teacher = check_embeddings(teacher, "teacher_embeddings", metric=metric)
    check_same_rows(X, teacher, "X", "teacher_embeddings")
    check_magnitude(teacher, "teacher_embeddings")
    if metric in ANGULAR_METRICS and teacher.shape[1] == 1:
        raise ValueError(
            f"teacher_embeddings must have at least two columns if teacher_metric={metric!r}, got "
            "one: pass labels as y, which is ignored, or set teacher_metric='euclidean'."
        )
    return teacher
