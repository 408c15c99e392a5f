import numpy as np
import pandas as pd
import pytest
import references
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st

from skperco import PerceptionCoherenceLoss, neighbor_recall_score, pairwise_dissimilarity
from skperco.losses import box_cox, rank_correlation_loss, rank_loss

POWERS = st.sampled_from([0, 0.3, 1, 2.0])


def rows_of(seed, n=14, d=6):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def other_ranks(rows, metric):
    """Exact ranks of the other rows by their dissimilarity to each row, by the slow reference."""
    table = references.table(rows, metric)
    kept = ~np.eye(len(rows), dtype=bool)
    return np.array(
        [references.percentile_rank(row[keep]) for row, keep in zip(table, kept, strict=True)]
    )


@given(st.integers(0, 100), POWERS, st.sampled_from(["cosine", "euclidean"]))
def test_value_equals_the_definition_by_exact_ranks(seed, power, metric):
    student, teacher = rows_of(seed, d=3), rows_of(seed + 1)
    loss = PerceptionCoherenceLoss(metric=metric, rank_power=power)(student, teacher)
    ranks = [torch.from_numpy(other_ranks(rows, metric)) for rows in (student, teacher)]
    phi = [rank.log() if power == 0 else (rank**power - 1) / power for rank in ranks]
    np.testing.assert_allclose(loss, (phi[0] - phi[1]).square().mean())


@given(st.integers(0, 100), POWERS, st.floats(0.01, 100))
def test_loss_is_zero_if_and_only_if_all_ranks_agree(seed, power, scale):
    teacher = rows_of(seed)
    rotation, _ = torch.linalg.qr(rows_of(seed + 1, n=6))
    loss = PerceptionCoherenceLoss(metric="euclidean", rank_power=power)
    student = (scale * teacher @ rotation + 3).requires_grad_()
    value = loss(student, teacher)
    assert value == 0
    value.backward()
    assert (student.grad == 0).all()
    assert loss(rows_of(seed + 2), teacher) > 0


def test_a_constant_student_has_a_positive_loss():
    student = torch.ones(8, 3, requires_grad=True)
    value = PerceptionCoherenceLoss()(student, rows_of(0, n=8).float())
    value.backward()
    assert value > 0
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("power", [0, 1])
def test_gradient_descent_reduces_the_loss(power):
    teacher = rows_of(0, n=60)
    student = rows_of(1, n=60, d=4).requires_grad_()
    loss = PerceptionCoherenceLoss(rank_power=power)
    optimizer = torch.optim.Adam([student], lr=0.05)
    first = loss(student, teacher).item()
    for _ in range(100):
        optimizer.zero_grad()
        value = loss(student, teacher)
        value.backward()
        optimizer.step()
    assert value.item() < first / 2


def local_losses(student, teacher, metric, n_neighbors):
    """The local loss of each row, by the slow reference."""
    kept = ~np.eye(len(student), dtype=bool)
    tables = (references.table(rows, metric) for rows in (student, teacher))
    losses = []
    for of_student, of_teacher, keep in zip(*tables, kept, strict=True):
        nearest = np.argsort(of_teacher[keep])[:n_neighbors]
        log_ranks = np.log((np.arange(len(nearest)) + 0.5) / len(nearest))
        losses.append((1 - np.corrcoef(of_student[keep][nearest], log_ranks)[0, 1]) / 6)
    return np.array(losses)


@given(st.integers(0, 100), POWERS, st.integers(3, 20), st.floats(0.1, 10))
def test_the_local_loss_equals_its_definition(seed, power, n_neighbors, near_weight):
    student, teacher = rows_of(seed, d=3), rows_of(seed + 1)
    without = PerceptionCoherenceLoss(rank_power=power)
    with_local = PerceptionCoherenceLoss(
        rank_power=power, n_neighbors=n_neighbors, near_weight=near_weight
    )
    added = with_local(student, teacher) - without(student, teacher)
    local = local_losses(student, teacher, "cosine", n_neighbors)
    np.testing.assert_allclose(added, near_weight * local.mean(), atol=1e-12)


def test_the_local_loss_includes_additional_references():
    student, teacher = rows_of(0, d=3), rows_of(1)
    without, with_local = (
        PerceptionCoherenceLoss(n_neighbors=n_neighbors)(
            student[:3], teacher[:3], student_references=student[3:], teacher_references=teacher[3:]
        )
        for n_neighbors in (None, 5)
    )
    local = local_losses(student, teacher, "cosine", 5)[:3]
    np.testing.assert_allclose(with_local - without, local.mean())


def test_the_local_loss_improves_neighbor_recall():
    """The student has too few dimensions to keep all ranks."""
    teacher = rows_of(0, n=300, d=12)
    recalls = []
    for n_neighbors in (None, 30):
        weight = rows_of(1, n=12, d=4).requires_grad_()
        loss = PerceptionCoherenceLoss(n_neighbors=n_neighbors)
        optimizer = torch.optim.Adam([weight], lr=0.03)
        for _ in range(100):
            optimizer.zero_grad()
            loss(teacher @ weight, teacher).backward()
            optimizer.step()
        recalls.append(neighbor_recall_score(teacher, (teacher @ weight).detach()))
    assert recalls[1] > recalls[0]


def test_a_precomputed_teacher_has_the_loss_of_its_embeddings():
    student, teacher = rows_of(0), rows_of(1)
    matrix = pairwise_dissimilarity(teacher, teacher, metric="manhattan")
    by_matrix = PerceptionCoherenceLoss(teacher_metric="precomputed")(student, matrix)
    by_rows = PerceptionCoherenceLoss(teacher_metric="manhattan")(student, teacher)
    assert by_matrix == by_rows


@given(st.integers(0, 100), st.sampled_from(["cosine", "euclidean"]))
def test_additional_references_are_not_anchors(seed, metric):
    student, teacher = rows_of(seed, d=3), rows_of(seed + 1)
    loss = PerceptionCoherenceLoss(metric=metric)
    found = loss(
        student[:5], teacher[:5], student_references=student[5:], teacher_references=teacher[5:]
    )
    ranks = [torch.from_numpy(other_ranks(rows, metric)[:5]) for rows in (student, teacher)]
    np.testing.assert_allclose(found, (ranks[0] - ranks[1]).square().mean())


def test_additional_references_of_a_precomputed_teacher_equal_those_by_embeddings():
    student, teacher = rows_of(0), rows_of(1)
    matrix = pairwise_dissimilarity(teacher, teacher, metric="manhattan")
    more = {"student_references": student[5:]}
    by_rows = PerceptionCoherenceLoss(teacher_metric="manhattan")(
        student[:5], teacher[:5], teacher_references=teacher[5:], **more
    )
    by_matrix = PerceptionCoherenceLoss(teacher_metric="precomputed")(
        student[:5], matrix[:5, :5], teacher_references=matrix[:5, 5:], **more
    )
    assert by_matrix == by_rows


@given(st.integers(0, 100), st.sampled_from(["cosine", "euclidean", "correlation", "manhattan"]))
def test_gradients_are_finite_for_degenerate_rows(seed, metric):
    """Degenerate rows are duplicates, zero rows and constant rows."""
    student = rows_of(seed).float()
    student[3:6] = student[0]
    student[6:8] = 0
    student[8:10] = 2.5
    student.requires_grad_()
    for power, n_neighbors in ((0, None), (1, None), (1, 5)):
        loss = PerceptionCoherenceLoss(metric=metric, rank_power=power, n_neighbors=n_neighbors)
        value = loss(student, rows_of(seed + 1))
        (gradient,) = torch.autograd.grad(value, student)
        assert value.isfinite()
        assert gradient.isfinite().all()
        assert gradient.any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_loss_under_autocast_equals_that_in_single_precision(dtype):
    teacher = rows_of(0, n=64).float()
    model = torch.nn.Linear(6, 3)
    with torch.autocast("cpu", dtype=dtype):
        student = model(teacher)
        assert student.dtype == dtype
        value = PerceptionCoherenceLoss()(student, teacher.to(dtype))
    assert value.dtype == torch.float32
    expected = PerceptionCoherenceLoss()(student.float(), teacher.to(dtype).float())
    assert value == expected
    value.backward()
    assert model.weight.grad.isfinite().all()
    assert model.weight.grad.any()


@pytest.mark.parametrize("n_neighbors", [None, 5])
def test_a_compiled_loss_has_the_same_value_and_gradient(n_neighbors):
    student, teacher = rows_of(0, d=3).requires_grad_(), rows_of(1)
    loss = PerceptionCoherenceLoss(n_neighbors=n_neighbors)
    compiled = torch.compile(loss, backend="aot_eager")
    gradients = [torch.autograd.grad(one(student, teacher), student)[0] for one in (loss, compiled)]
    assert compiled(student, teacher) == loss(student, teacher)
    np.testing.assert_allclose(*gradients, atol=1e-12)


def test_integer_weights_of_references_equal_repeated_references():
    dissimilarities, target = rows_of(0).abs(), torch.rand(14, 6, dtype=torch.float64)
    counts = torch.tensor([1, 2, 3, 1, 1, 2])
    weighted = rank_loss(dissimilarities, target, weights=counts.double())
    repeated = [rows.repeat_interleave(counts, dim=1) for rows in (dissimilarities, target)]
    np.testing.assert_allclose(weighted, rank_loss(*repeated))


def test_box_cox_is_continuous_in_its_power():
    ranks = torch.linspace(0.01, 1, 20, dtype=torch.float64)
    np.testing.assert_allclose(box_cox(ranks, 1e-7), box_cox(ranks, 0), atol=1e-5)


@pytest.mark.parametrize(
    ("parameter", "value", "error"),
    [
        *(
            (parameter, *bad)
            for parameter in ("rank_power", "bandwidth", "near_weight")
            for bad in [(np.nan, ValueError), (np.inf, ValueError), ("1", TypeError)]
        ),
        ("bandwidth", 0, ValueError),
        ("near_weight", -1.0, ValueError),
        ("n_neighbors", 2, ValueError),
        ("n_neighbors", 4.0, TypeError),
    ],
)
def test_a_parameter_outside_its_range_raises_an_error(parameter, value, error):
    with pytest.raises(error, match=f"^{parameter} must be .*, got {value!r}"):
        PerceptionCoherenceLoss(**{parameter: value})


def test_invalid_arguments_raise_an_error():
    with pytest.raises(ValueError, match="Did you mean 'cosine'"):
        PerceptionCoherenceLoss(metric="cosin")
    with pytest.raises(ValueError, match="teacher_metric"):
        PerceptionCoherenceLoss(teacher_metric="nothing")
    loss = PerceptionCoherenceLoss()
    with pytest.raises(ValueError, match="same rows, got 14 and 9"):
        loss(rows_of(0), rows_of(1, n=9))
    with pytest.raises(ValueError, match="at least 3 rows, got 2"):
        loss(rows_of(0, n=2), rows_of(1, n=2))
    with pytest.raises(ValueError, match="must be of the same rows, got 14 and 0"):
        loss(rows_of(0), rows_of(1), student_references=rows_of(2))


NOT_FINITE = [float("nan"), float("inf"), -float("inf")]
ARGUMENT_NAMES = ["student", "teacher", "student_references", "teacher_references"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n_neighbors", [None, 4])
@pytest.mark.parametrize("rank_power", [0, 0.5, 1])
@pytest.mark.parametrize("argument", ARGUMENT_NAMES)
@pytest.mark.parametrize(
    "metric", ["cosine", "correlation", "euclidean", "manhattan", "sqeuclidean"]
)
def test_loss_and_gradient_are_nan_if_an_embedding_is_not_finite(
    metric, argument, rank_power, n_neighbors, dtype
):
    loss = PerceptionCoherenceLoss(metric=metric, rank_power=rank_power, n_neighbors=n_neighbors)
    for value in NOT_FINITE:
        rows = {name: rows_of(seed, d=4).to(dtype) for seed, name in enumerate(ARGUMENT_NAMES)}
        rows[argument][3, 1] = value
        student = rows.pop("student").requires_grad_()
        found = loss(student, rows.pop("teacher"), **rows)
        found.backward()
        assert found.isnan()
        assert not student.grad.isfinite().all()


@pytest.mark.parametrize("n_neighbors", [None, 4])
@pytest.mark.parametrize(
    "metric", ["cosine", "correlation", "euclidean", "manhattan", "sqeuclidean"]
)
def test_loss_and_gradient_in_single_precision_do_not_depend_on_the_scale(metric, n_neighbors):
    loss = PerceptionCoherenceLoss(metric=metric, n_neighbors=n_neighbors)
    teacher = rows_of(1).float()
    values, gradients = [], []
    for scale in (1.0, 2.0**-50, 2.0**50):
        student = (scale * rows_of(0, d=3)).float().requires_grad_()
        values.append(loss(student, teacher))
        gradients.append(scale * torch.autograd.grad(values[-1], student)[0].double())
    for value, gradient in zip(values, gradients, strict=True):
        torch.testing.assert_close(value, values[0], rtol=1e-5, atol=0)
        torch.testing.assert_close(gradient, gradients[0], rtol=1e-3, atol=1e-6)


@given(st.integers(0, 100), st.sampled_from([1e-30, 1e-15, 1.0, 1e15, 1e30]))
def test_rank_correlation_loss_in_single_precision_does_not_depend_on_the_scale(seed, scale):
    dissimilarities, target = rows_of(seed, n=4, d=12), rows_of(seed + 1, n=4, d=12)
    expected = [
        1 - np.corrcoef(row, wanted)[0, 1]
        for row, wanted in zip(dissimilarities, target, strict=True)
    ]
    found = rank_correlation_loss((scale * dissimilarities).float(), target.float())
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("n_references", [3, 10, 50, 1000])
def test_rank_correlation_loss_of_constant_rows_is_one_without_gradient(n_references):
    constants = torch.rand(200, 1, generator=torch.Generator().manual_seed(0))
    rows = constants.repeat(1, n_references).requires_grad_()
    losses = rank_correlation_loss(rows, rows_of(0, n=200, d=n_references).float())
    losses.sum().backward()
    assert (losses == 1).all()
    assert (rows.grad == 0).all()


ARGUMENTS = {
    "student": torch.ones(5, 3),
    "teacher": torch.ones(5, 4),
    "student_references": torch.ones(2, 3),
    "teacher_references": torch.ones(2, 4),
}
EACH_ARGUMENT = pytest.mark.parametrize("name", ARGUMENTS)


def loss_with(**changed):
    given = ARGUMENTS | changed
    references = {name: given[name] for name in ("student_references", "teacher_references")}
    return PerceptionCoherenceLoss()(given["student"], given["teacher"], **references)


@EACH_ARGUMENT
@pytest.mark.parametrize(
    "convert", [np.asarray, sp.csr_array, pd.DataFrame, torch.Tensor.tolist], ids=str
)
def test_the_error_of_an_argument_that_is_not_a_tensor_names_it(name, convert):
    with pytest.raises(TypeError, match=rf"^{name} must be a torch\.Tensor, got .*from_numpy"):
        loss_with(**{name: convert(ARGUMENTS[name])})


@EACH_ARGUMENT
@pytest.mark.parametrize(
    "convert",
    [lambda rows: rows[0], lambda rows: rows[None], torch.Tensor.to_sparse, torch.Tensor.sum],
)
def test_the_error_of_an_argument_that_is_not_a_dense_matrix_names_it(name, convert):
    with pytest.raises(ValueError, match=rf"^{name} must be a dense matrix, rows x columns, got "):
        loss_with(**{name: convert(ARGUMENTS[name])})


@EACH_ARGUMENT
def test_the_error_of_an_argument_on_another_device_names_it(name):
    with pytest.raises(ValueError, match=rf"must be on one device, got .*'{name}': 'meta'"):
        loss_with(**{name: ARGUMENTS[name].to("meta")})


@pytest.mark.parametrize("name", ["student", "student_references"])
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_the_error_of_an_integer_student_names_it(name, dtype):
    with pytest.raises(TypeError, match=rf"^{name} must hold floating-point numbers, got {dtype}"):
        loss_with(**{name: ARGUMENTS[name].to(dtype)})


@pytest.mark.parametrize("dtype", [torch.int64, torch.float16, torch.float64])
def test_a_teacher_may_have_any_numeric_dtype(dtype):
    teacher = (10 * rows_of(0)).round()
    student = rows_of(1, d=3)
    found = PerceptionCoherenceLoss(metric="euclidean")(student, teacher.to(dtype))
    expected = PerceptionCoherenceLoss(metric="euclidean")(student, teacher)
    torch.testing.assert_close(found, expected)
