"""Errors of fit, transform and score."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from builders import small
from sklearn.exceptions import NotFittedError

GOOD = np.random.default_rng(0).normal(size=(30, 6))
TEACHER = np.random.default_rng(1).normal(size=(30, 5))
TABLE = np.abs(np.random.default_rng(1).normal(size=(30, 30)))


def spoiled(array, value):
    return np.where(np.arange(array.size).reshape(array.shape) == 7, value, array)


def fit_arguments(X=GOOD, y=None, **options):
    return (X, y), options


BAD_INPUT = {
    "rows": (fit_arguments(GOOD, TEACHER[:9]), {}, "X and teacher_embeddings .* 30 and 9 rows"),
    "rows by name": (
        fit_arguments(teacher_embeddings=TEACHER[:9]),
        {},
        "X and teacher_embeddings must describe the same rows, got 30 and 9 rows",
    ),
    "empty": (fit_arguments(GOOD[:0]), {}, "0 sample"),
    "no features": (fit_arguments(GOOD[:, :0]), {}, "0 feature"),
    "one row": (fit_arguments(GOOD[:1]), {}, "1 sample"),
    "1-D X": (fit_arguments(GOOD[0]), {}, "Expected 2D array"),
    "nan in X": (fit_arguments(spoiled(GOOD, np.nan)), {}, "X contains NaN"),
    "inf in X": (fit_arguments(spoiled(GOOD, np.inf)), {}, "X contains infinity"),
    "nan in teacher": (
        fit_arguments(GOOD, spoiled(TEACHER, np.nan)),
        {},
        "teacher_embeddings contains NaN",
    ),
    "inf in teacher": (
        fit_arguments(teacher_embeddings=spoiled(TEACHER, -np.inf)),
        {},
        "teacher_embeddings contains infinity",
    ),
    "empty teacher": (fit_arguments(GOOD, TEACHER[:0]), {}, "teacher_embeddings"),
    "huge X": (fit_arguments(GOOD * 1e30), {"metric": "euclidean"}, "X must have its largest"),
    "tiny teacher": (fit_arguments(GOOD, TEACHER * 1e-30), {}, "teacher_embeddings must have its"),
    "ragged y": (fit_arguments(GOOD, [[1], [1, 2]] * 15), {}, "y: "),
    "meta device": (fit_arguments(), {"device": "meta"}, "device must be"),
    "one positive weight": (
        fit_arguments(sample_weight=np.eye(30)[0]),
        {},
        "sample_weight must be positive for at least 2",
    ),
    "metric without a gradient": (
        fit_arguments(),
        {"metric": lambda a, b: torch.cdist(a, b).detach(), "early_stopping": False},
        "metric must be differentiable",
    ),
    "3-D X": (fit_arguments(GOOD[None]), {}, "dim 3.*CoherenceDistiller"),
    "3-D y": (fit_arguments(GOOD, TEACHER[:, None]), {}, "teacher_embeddings"),
    "3-D teacher": (fit_arguments(teacher_embeddings=TEACHER[None]), {}, "teacher_embeddings"),
    "1-D teacher": (fit_arguments(teacher_embeddings=TEACHER[:, 0]), {}, "teacher_embeddings"),
    "strings in X": (fit_arguments([*GOOD.astype(str).tolist(), ["a"] * 6]), {}, "X"),
    "strings in teacher": (
        fit_arguments(teacher_embeddings=np.full((30, 2), "a")),
        {},
        "teacher_embeddings",
    ),
    "n_components 0": (fit_arguments(), {"n_components": 0}, "'n_components'"),
    "n_components not an integer": (fit_arguments(), {"n_components": 2.5}, "'n_components'"),
    "n_components over features": (
        fit_arguments(),
        {"n_components": 7},
        "n_components=7 .*6 features: set it to at most 6, or to None",
    ),
    "n_components over teacher": (
        fit_arguments(GOOD, TEACHER),
        {"n_components": 6},
        "n_components=6 .*5 dimensions of the teacher: set it to at most 5, or to None",
    ),
    "metric": (fit_arguments(), {"metric": "euclid"}, "metric must be .*Did you mean 'euclidean'"),
    "no such metric": (fit_arguments(), {"metric": "zzz"}, "metric must be one of .*'manhattan'"),
    "teacher_metric": (
        fit_arguments(),
        {"teacher_metric": "cosin"},
        "teacher_metric must be .*Did you mean 'cosine'",
    ),
    "metric precomputed": (fit_arguments(), {"metric": "precomputed"}, "teacher_metric='precomp"),
    "no table": (fit_arguments(), {"teacher_metric": "precomputed"}, "teacher_embeddings"),
    "table not square": (
        fit_arguments(GOOD, TABLE[:, :9]),
        {"teacher_metric": "precomputed"},
        r"teacher_embeddings must be a square dissimilarity matrix.*\(30, 9\)",
    ),
    "table negative": (
        fit_arguments(GOOD, spoiled(TABLE, -1.0)),
        {"teacher_metric": "precomputed"},
        "teacher_embeddings must hold non-negative",
    ),
    "table of other rows": (
        fit_arguments(GOOD, TABLE[:9, :9]),
        {"teacher_metric": "precomputed"},
        "X and teacher_embeddings must describe the same rows, got 30 and 9 rows",
    ),
    "too few weights": (fit_arguments(sample_weight=np.ones(9)), {}, "sample_weight"),
    "weights negative": (fit_arguments(sample_weight=-np.ones(30)), {}, "sample_weight"),
    "weights nan": (fit_arguments(sample_weight=np.full(30, np.nan)), {}, "sample_weight"),
    "weights zero": (fit_arguments(sample_weight=np.zeros(30)), {}, "sample_weight"),
    "device": (fit_arguments(), {"device": "warp"}, "device must be 'auto' or .*'warp'"),
    "missing device": (fit_arguments(), {"device": "cuda:99"}, "device must be .*cuda.*99"),
    "student": (fit_arguments(), {"student": "tree"}, "'student'"),
    "rank_power": (fit_arguments(), {"rank_power": 1.5}, "'rank_power'"),
    "batch_size": (fit_arguments(), {"batch_size": 0}, "'batch_size'"),
    "n_references": (fit_arguments(), {"n_references": 1}, "'n_references'"),
    "n_neighbors": (fit_arguments(), {"n_neighbors": 1}, "'n_neighbors'"),
    "learning_rate_init": (fit_arguments(), {"learning_rate_init": 0.0}, "'learning_rate_init'"),
    "max_iter": (fit_arguments(), {"max_iter": -1}, "'max_iter'"),
    "validation_fraction": (fit_arguments(), {"validation_fraction": 1.0}, "'validation_fraction'"),
    "hidden_layer_sizes": (
        fit_arguments(),
        {"student": "mlp", "hidden_layer_sizes": (0,)},
        "hidden_layer_sizes",
    ),
    "hidden_layer_sizes not integers": (
        fit_arguments(),
        {"student": "mlp", "hidden_layer_sizes": (2.5,)},
        "hidden_layer_sizes",
    ),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_an_error_names_the_invalid_argument(case):
    (arguments, options), parameters, message = BAD_INPUT[case]
    distiller = small(**({"n_components": 2} | parameters))
    with pytest.raises(ValueError, match=message):
        distiller.fit(*arguments, **options)


@pytest.mark.parametrize("metric", ["correlation", lambda a, b: torch.cdist(a, b)])
@pytest.mark.parametrize("name", ["metric", "teacher_metric"])
def test_sparse_rows_without_a_teacher_refuse_metrics_that_need_dense_rows(metric, name):
    X = sp.csr_array(GOOD)
    with pytest.raises(ValueError, match=r"X as its own teacher is sparse.*'cosine'.*SVD"):
        small(2, **{name: metric}).fit(X)
    small(2, metric=metric).fit(X, TEACHER)


def test_a_sparse_teacher_is_refused():
    with pytest.raises(TypeError, match=r"teacher_embeddings.* dense"):
        small(2).fit(GOOD, sp.csr_array(TEACHER))


def test_methods_raise_not_fitted_error_before_fit():
    for method in (small(2).transform, small(2).score, small(2).get_feature_names_out):
        with pytest.raises(NotFittedError, match="CoherenceDistiller"):
            method(GOOD)


def test_another_number_of_features_is_refused():
    distiller = small(2).fit(GOOD)
    for method in (distiller.transform, distiller.score):
        with pytest.raises(ValueError, match=r"X has 5 features, but CoherenceDistiller.* 6"):
            method(GOOD[:, :5])


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (spoiled(GOOD, np.nan), "X contains NaN"),
        (spoiled(GOOD, np.inf), "X contains infinity"),
        (GOOD[:0], "0 sample"),
        (GOOD[None], "dim 3"),
        (GOOD[0], "2D array"),
    ],
)
def test_transform_refuses_invalid_rows(X, message):
    distiller = small(2).fit(GOOD)
    with pytest.raises(ValueError, match=message):
        distiller.transform(X)


def test_score_refuses_a_teacher_with_another_number_of_rows():
    distiller = small(2).fit(GOOD)
    with pytest.raises(ValueError, match=r"teacher.* same rows, got 9 and 30"):
        distiller.score(GOOD, TEACHER[:9])


def test_a_failed_fit_leaves_the_estimator_unfitted():
    distiller = small(2)
    with pytest.raises(ValueError, match="same rows"):
        distiller.fit(GOOD, TEACHER[:9])
    with pytest.raises(NotFittedError):
        distiller.transform(GOOD)


def test_fit_succeeds_after_a_failed_fit():
    distiller = small(7)
    with pytest.raises(ValueError, match="n_components"):
        distiller.fit(GOOD)
    assert distiller.set_params(n_components=2).fit(GOOD).n_components_ == 2
