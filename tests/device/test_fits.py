"""Fits on the device equal those on the CPU, up to rounding."""

from itertools import product

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from builders import METRIC_NAMES, small

from skperco import perception_coherence_score


class Network(torch.nn.Module):
    """A student with dropout and batch normalization."""

    def __init__(self, n_features, n_components):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(n_features, 8),
            torch.nn.BatchNorm1d(8),
            torch.nn.Dropout(0.1),
            torch.nn.Linear(8, n_components),
        )

    def forward(self, rows):
        return self.layers(rows)


def distances(anchors, references):
    return torch.cdist(anchors, references)


def dense(rows):
    return rows


def sparse(rows):
    return sp.csr_array(np.where(rows > 0, rows, 0))


def table(teacher):
    return np.linalg.norm(teacher[:, None] - teacher, axis=2)


# Conversion of X, parameters, and conversion of the teacher's embeddings (None: no teacher).
CASES = [
    *product([dense], [{"metric": metric} for metric in METRIC_NAMES], [None, dense]),
    *product([sparse], [{"metric": "cosine"}, {"metric": "euclidean"}], [None]),
    *product([dense, sparse], [{"student": "mlp"}], [None, dense]),
    *product([dense], [{"student": Network}, {"student": torch.nn.Linear(32, 4)}], [None, dense]),
    *product([dense], [{"rank_power": 0}, {"rank_power": 1}], [dense]),
    *product([dense, sparse], [{"early_stopping": False}, {"batch_size": 8}], [None]),
    *product([dense], [{"teacher_metric": metric} for metric in METRIC_NAMES], [None]),
    (dense, {"teacher_metric": "precomputed"}, table),
    (dense, {"teacher_metric": distances}, dense),
    (dense, {"metric": distances, "batch_size": 8, "n_references": 8, "max_iter": 3}, None),
]


def name_of(case):
    layout, parameters, teacher = case
    values = (
        "=".join((name, getattr(one, "__name__", str(one)))) for name, one in parameters.items()
    )
    whose = "own teacher" if teacher is None else f"teacher {teacher.__name__}"
    return f"{layout.__name__} {' '.join(values)} {whose}"


def embeddings(device, case, rows, teacher, **fit_parameters):
    layout, parameters, convert_teacher = case
    given = None if convert_teacher is None else convert_teacher(teacher)
    distiller = small(device=device, **{"max_iter": 4, "validation_fraction": 0.15} | parameters)
    distiller.fit(layout(rows), teacher_embeddings=given, **fit_parameters)
    assert {parameter.device.type for parameter in distiller.student_.parameters()} == {"cpu"}
    return distiller, distiller.transform(layout(rows))


def assert_alike(found, expected):
    """Check that losses are nearly equal, and the embeddings coherent."""
    assert found[0].validation_fractions_ == expected[0].validation_fractions_
    np.testing.assert_allclose(found[0].loss_curve_, expected[0].loss_curve_, rtol=0.02, atol=1e-3)
    metric = found[0].metric_
    metric = "euclidean" if callable(metric) else metric
    assert perception_coherence_score(expected[1], found[1], metric=metric) > 0.995


@pytest.mark.filterwarnings("ignore:Sparse (CSR|invariant)")
@pytest.mark.parametrize("case", CASES, ids=map(name_of, CASES))
def test_fit_on_the_device_equals_the_cpu(device, operators, case, rows, teacher):
    expected = embeddings("cpu", case, rows, teacher)
    assert not operators.counted_kernels()
    found = embeddings(device, case, rows, teacher)
    assert sum(operators.counted_kernels().values()) > 100
    assert_alike(found, expected)


@pytest.mark.filterwarnings("ignore:Sparse (CSR|invariant)")
@pytest.mark.parametrize("layout", [dense, sparse])
@pytest.mark.parametrize("convert_teacher", [None, dense])
def test_weighted_fit_on_the_device_equals_the_cpu(
    device, layout, convert_teacher, rows, teacher, weights
):
    fits = [
        embeddings(where, (layout, {}, convert_teacher), rows, teacher, sample_weight=weights)
        for where in (device, "cpu")
    ]
    assert_alike(*fits)


@pytest.mark.parametrize("role", ["metric", "teacher_metric"])
def test_a_callable_metric_receives_tensors_on_the_device(device, role, rows, teacher):
    called = set()

    def scaled(where):
        scale = torch.linspace(1, 2, 4 if role == "metric" else 96, device=where)

        def metric(anchors, references):
            called.add((anchors.device.type, references.device.type, anchors.dtype))
            return torch.cdist(
                anchors * scale.to(anchors.dtype), references * scale.to(anchors.dtype)
            )

        return metric

    case = {"batch_size": 8, "n_references": 8, "max_iter": 3, "teacher_metric": "cosine"}
    fits = [
        embeddings(where, (dense, case | {role: scaled(where)}, dense), rows, teacher)
        for where in (device, torch.device("cpu"))
    ]
    assert_alike(*fits)
    for where in (device.type, "cpu"):
        assert {dtype for first, second, dtype in called if first == second == where} == {
            torch.float32,
            torch.float64,
        }
    assert {first for first, *_ in called} == {device.type, "cpu"}


RESULTS = {
    "array": lambda distances: distances.cpu().numpy(),
    "tensor on the CPU": torch.Tensor.cpu,
    "list": torch.Tensor.tolist,
}


@pytest.mark.parametrize("convert", RESULTS.values(), ids=RESULTS.keys())
def test_the_result_of_a_callable_teacher_metric_is_moved_to_the_device(
    device, convert, rows, teacher
):
    def converted(anchors, references):
        return convert(torch.cdist(anchors, references))

    fits = [
        embeddings(device, (dense, {"teacher_metric": metric}, dense), rows, teacher)
        for metric in (converted, distances)
    ]
    np.testing.assert_allclose(fits[0][1], fits[1][1], atol=1e-5)


def test_training_steps_copy_nothing_from_the_device(device, operators, rows):
    transfers = []

    class Watch:
        """Records the number of transfers after every round of steps."""

        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context):
            if context.task_name == "round":
                transfers.append(operators.counted_transfers())

    small(device=device, max_iter=10, early_stopping=False).set_callbacks(Watch()).fit(rows)
    to_host, read = np.diff(transfers, axis=0)[:, 1:].T
    assert len(to_host) == 9
    assert not to_host.any()
    assert not read.any()
