"""The loss and its gradient on the device equal those on the CPU, without synchronization."""

import pytest
import torch
from builders import METRIC_NAMES

from skperco import PerceptionCoherenceLoss

OPTIONS = {
    "plain": {},
    "neighbors": {"n_neighbors": 6},
    "teacher_metric": {"teacher_metric": "manhattan"},
    "callable": {"teacher_metric": lambda anchors, references: torch.cdist(anchors, references)},
}


def rows_of(seed, n, d):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def value_and_gradient(where, dtype, references, **options):
    given = [rows_of(0, 24, 5), rows_of(1, 24, 8), rows_of(2, 9, 5), rows_of(3, 9, 8)]
    student, teacher, *more = (rows.to(where, dtype) for rows in given)
    student.requires_grad_()
    more = dict(zip(("student_references", "teacher_references"), more, strict=True))
    loss = PerceptionCoherenceLoss(**options).to(where)(
        student, teacher, **(more if references else {})
    )
    assert loss.device.type == where.type
    loss.backward()
    return loss.detach().cpu(), student.grad.cpu()


@pytest.mark.parametrize("references", [False, True])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("rank_power", [0, 0.5, 1])
@pytest.mark.parametrize("metric", METRIC_NAMES)
def test_loss_on_the_device_equals_the_cpu(device, metric, rank_power, options, references):
    options = options | {"metric": metric, "rank_power": rank_power}
    found, expected = (
        value_and_gradient(where, torch.float32, references, **options)
        for where in (device, torch.device("cpu"))
    )
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("metric", METRIC_NAMES)
def test_loss_in_another_precision_equals_the_cpu(device, metric, dtype):
    found, expected = (
        value_and_gradient(where, dtype, True, metric=metric, n_neighbors=6)
        for where in (device, torch.device("cpu"))
    )
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0.02)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_loss_under_autocast_equals_the_cpu(device, dtype):
    expected = value_and_gradient(torch.device("cpu"), torch.float32, True)
    with torch.autocast(device.type, dtype=dtype):
        found = value_and_gradient(device, torch.float32, True)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("name", ["teacher", "student_references", "teacher_references"])
def test_arguments_on_two_devices_are_refused(device, name):
    given = {
        "student": rows_of(0, 24, 5),
        "teacher": rows_of(1, 24, 8),
        "student_references": rows_of(2, 9, 5),
        "teacher_references": rows_of(3, 9, 8),
    }
    given = {key: rows if key == name else rows.to(device) for key, rows in given.items()}
    with pytest.raises(ValueError, match=rf"must be on one device, got .*'{name}': 'cpu'"):
        PerceptionCoherenceLoss()(**given)


@pytest.mark.parametrize("metric", METRIC_NAMES)
def test_loss_copies_nothing_from_the_device(device, operators, metric):
    student, teacher = (rows.to(device) for rows in (rows_of(0, 24, 5), rows_of(1, 24, 8)))
    student.requires_grad_()
    operators.reset_counts()
    PerceptionCoherenceLoss(metric=metric, n_neighbors=6)(student, teacher).backward()
    assert operators.counted_transfers()[1:] == [0, 0]
