"""Parameters set after a fit do not change its results."""

import numpy as np
import pytest
import torch
from builders import small
from numpy.testing import assert_array_equal

from skperco import CoherenceDistiller, perception_coherence_score
from skperco.io._safetensors import read_file

ROWS = np.random.default_rng(0).normal(size=(60, 10)) + 0.4
TEACHER = np.random.default_rng(1).normal(size=(60, 12)) + 0.4


def absolute(anchors, references):
    return (anchors[..., :, None, :] - references[..., None, :, :]).abs().sum(-1)


# Values of each parameter that differ from those of `small`.
CHANGED_VALUES = {
    "n_components": [3, None],
    "student": ["mlp", torch.nn.Linear(10, 4), lambda n_in, n_out: torch.nn.Linear(n_in, n_out)],
    "metric": ["euclidean", "manhattan", absolute],
    "teacher_metric": ["correlation", "manhattan", absolute],
    "rank_power": [1.0],
    "hidden_layer_sizes": [(3, 3)],
    "batch_size": [7],
    "n_references": [9],
    "n_neighbors": [2],
    "learning_rate_init": [3.0],
    "max_iter": [1],
    "early_stopping": [False],
    "alphas": [(1.0, 0.1)],
    "dropout": [0.5],
    "tol": [0.1],
    "validation_fraction": [0.5],
    "max_samples": [20],
    "warm_start": [True],
    "random_state": [5],
    "device": ["auto"],
    "distributed": [True],
    "verbose": [True],
}
CHANGES = [
    pytest.param({name: value}, id=f"{name}-{index}")
    for name, values in CHANGED_VALUES.items()
    for index, value in enumerate(values)
]
FITS = {
    "defaults": {},
    "mlp": {"student": "mlp"},
    "euclidean": {"metric": "euclidean"},
    "other teacher metric": {"teacher_metric": "euclidean"},
    "callable metric": {"metric": absolute},
    "module": {"student": torch.nn.Linear(10, 4)},
}
ALL_FITS = pytest.mark.parametrize("fit", FITS.values(), ids=FITS.keys())


def results(distiller):
    with torch.no_grad():
        module = distiller.to_torch()(torch.from_numpy(ROWS).float()).numpy()
    return distiller.transform(ROWS), module, distiller.score(ROWS, TEACHER)


def test_every_parameter_has_a_changed_value():
    assert CHANGED_VALUES.keys() == CoherenceDistiller().get_params().keys()


@ALL_FITS
@pytest.mark.parametrize("changed", CHANGES)
def test_results_do_not_change_when_a_parameter_is_set_after_the_fit(fit, changed):
    distiller = small(**fit | {"max_iter": 1}).fit(ROWS, TEACHER)
    before = results(distiller)
    for found, expected in zip(results(distiller.set_params(**changed)), before, strict=True):
        assert_array_equal(found, expected)


@ALL_FITS
@pytest.mark.parametrize("changed", CHANGES)
def test_a_saved_fit_does_not_depend_on_parameters_set_after_it(fit, changed, tmp_path):
    pytest.importorskip("safetensors")
    distiller = small(**fit | {"max_iter": 1}).fit(ROWS, TEACHER)
    before = results(distiller)
    distiller.set_params(**changed).save(tmp_path / "file")
    student = fit["student"] if fit == FITS["module"] else changed.get("student")
    code = {"metric": absolute, "teacher_metric": absolute, "student": student}
    missing = read_file(tmp_path / "file")[0]["missing"]
    loaded = CoherenceDistiller.load(tmp_path / "file", **{name: code[name] for name in missing})
    for found, expected in zip(results(loaded), before, strict=True):
        assert_array_equal(found, expected)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "manhattan"])
@pytest.mark.parametrize("teacher_metric", [None, "cosine", "euclidean", "manhattan"])
def test_score_uses_the_metrics_of_the_fit(metric, teacher_metric):
    distiller = small(metric=metric, teacher_metric=teacher_metric).fit(ROWS, TEACHER)
    expected = perception_coherence_score(
        TEACHER, distiller.transform(ROWS), metric=metric, teacher_metric=teacher_metric
    )
    distiller.set_params(metric="correlation", teacher_metric="correlation")
    assert distiller.metric_ == metric
    assert distiller.teacher_metric_ == (teacher_metric or metric)
    assert distiller.score(ROWS, TEACHER) == expected


def test_a_failed_fit_keeps_the_previous_fit():
    distiller = small().fit(ROWS, TEACHER)
    before = results(distiller)
    with pytest.raises(ValueError, match="n_components=40"):
        distiller.set_params(metric="euclidean", n_components=40).fit(ROWS, TEACHER)
    for found, expected in zip(results(distiller), before, strict=True):
        assert_array_equal(found, expected)


# Streams


@pytest.mark.parametrize("sizes", [(2, 5, 40), (5, 64), (40, 2)])
@pytest.mark.parametrize("n_components", [None, 7])
@pytest.mark.parametrize("parameters", [{}, {"student": "mlp"}, {"metric": "euclidean"}])
@pytest.mark.parametrize("with_teacher", [False, True])
def test_every_batch_of_a_stream_has_the_same_number_of_components(
    sizes, n_components, parameters, with_teacher
):
    distiller = small(n_components, max_iter=1, **parameters)
    for size in sizes:
        teacher = np.resize(TEACHER, (size, 12)) if with_teacher else None
        distiller.partial_fit(np.resize(ROWS, (size, 10)), teacher)
        assert distiller.n_components_ == (n_components or 10)
        assert distiller.transform(ROWS).shape == (60, n_components or 10)


def test_a_callable_teacher_metric_keeps_the_number_of_components_of_a_stream():
    distiller = small(None, max_iter=1, teacher_metric=absolute)
    widths = [
        distiller.partial_fit(ROWS[:n], TEACHER[:n]).transform(ROWS).shape[1] for n in (3, 20, 60)
    ]
    assert widths == [10, 10, 10]


@pytest.mark.parametrize("begin", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    "changed",
    [
        {"n_components": 3},
        {"student": "mlp"},
        {"metric": "euclidean"},
        {"teacher_metric": "euclidean"},
        {"teacher_metric": absolute},
    ],
    ids=repr,
)
def test_partial_fit_refuses_another_student_or_metric(begin, changed):
    distiller = small()
    getattr(distiller, begin)(ROWS, TEACHER)
    before = results(distiller)
    ((name, _),) = changed.items()
    with pytest.raises(ValueError, match=rf"^{name} cannot change from"):
        distiller.set_params(**changed).partial_fit(ROWS, TEACHER)
    for found, expected in zip(results(distiller), before, strict=True):
        assert_array_equal(found, expected)
