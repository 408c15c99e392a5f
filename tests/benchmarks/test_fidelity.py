"""The benchmark of fidelity, and the losses that it compares, against slow references."""

import fidelity
import numpy as np
import pytest
import torch
from numpy.linalg import norm
from numpy.testing import assert_allclose
from rivals import cases, losses, methods, report
from rivals.training import hold_out


def cosine(a, b):
    return a @ b / (norm(a) * norm(b))


def huber(error):
    return error**2 / 2 if abs(error) < 1 else abs(error) - 0.5


def pairs(n):
    return [(i, j) for i in range(n) for j in range(n) if i != j]


def rkd_distance(student, teacher):
    def relative(rows, i, j):
        mean = np.mean([norm(rows[a] - rows[b]) for a, b in pairs(len(rows))])
        return norm(rows[i] - rows[j]) / mean

    return np.mean(
        [huber(relative(student, i, j) - relative(teacher, i, j)) for i, j in pairs(len(student))]
    )


def rkd_angle(student, teacher):
    def angle(rows, i, j, k):
        return cosine(rows[i] - rows[j], rows[k] - rows[j])

    n_rows = round(len(student) ** (2 / 3))
    return np.mean(
        [
            huber(angle(student, i, j, k) - angle(teacher, i, j, k))
            for j in range(n_rows)
            for i, k in pairs(n_rows)
            if j not in (i, k)
        ]
    )


def divergence(probability, student, teacher):
    n = len(student)
    total = 0.0
    for i in range(n):
        target = np.array([probability(teacher, i, j) for j in range(n) if j != i])
        actual = np.array([probability(student, i, j) for j in range(n) if j != i])
        target, actual = target / target.sum(), actual / actual.sum()
        total += (target * np.log(target / actual)).sum() / n
    return total


def pkt(student, teacher):
    return divergence(lambda rows, i, j: (1 + cosine(rows[i], rows[j])) / 2, student, teacher)


def softmax_similarity(student, teacher):
    return divergence(lambda rows, i, j: np.exp(cosine(rows[i], rows[j]) / 0.04), student, teacher)


def similarity_preserving(student, teacher):
    def unit_gram(rows):
        return np.array([row / norm(row) for row in rows @ rows.T])

    return norm(unit_gram(student) - unit_gram(teacher)) ** 2 / len(student) ** 2


def pairwise_similarity(student, teacher):
    n = len(student)
    every, nearest = [], []
    for i in range(n):
        others = [j for j in range(n) if j != i]
        by_nearness = sorted(others, key=lambda j: -cosine(teacher[i], teacher[j]))
        for differences, neighbors in ((every, others), (nearest, by_nearness[:10])):
            differences += [
                abs(cosine(student[i], student[j]) - cosine(teacher[i], teacher[j]))
                for j in neighbors
            ]
    return np.mean(every) + np.mean(nearest)


RELATIONS = [
    rkd_distance,
    rkd_angle,
    pkt,
    similarity_preserving,
    softmax_similarity,
    pairwise_similarity,
]
ERRORS = [losses.squared_error, losses.cosine_error]


@pytest.fixture
def batch():
    """Embeddings of a student and of a similar teacher."""
    teacher = torch.randn(14, 6, generator=torch.Generator().manual_seed(0)).double()
    return teacher[:, :4].clone().requires_grad_(), teacher


@pytest.mark.parametrize("slow", RELATIONS, ids=lambda slow: slow.__name__)
def test_relation_loss_matches_its_formula(slow, batch):
    fast = getattr(losses, slow.__name__)
    student, teacher = batch
    assert_allclose(
        fast(student, teacher).item(), slow(student.detach().numpy(), teacher.numpy()), rtol=1e-6
    )


@pytest.mark.parametrize("slow", RELATIONS, ids=lambda slow: slow.__name__)
def test_relation_loss_of_the_teacher_itself_is_zero(slow, batch):
    loss = getattr(losses, slow.__name__)
    _, teacher = batch
    student = teacher.clone().requires_grad_()
    value = loss(student, teacher)
    value.backward()
    assert_allclose(value.item(), 0, atol=1e-12)
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("slow", RELATIONS, ids=lambda slow: slow.__name__)
def test_gradients_are_finite_if_rows_coincide(slow, batch):
    loss = getattr(losses, slow.__name__)
    _, teacher = batch
    student = teacher[:, :4].clone()
    student[1] = student[0]
    student.requires_grad_()
    loss(student, teacher).backward()
    assert student.grad.isfinite().all()
    assert student.grad.abs().sum() > 0


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_regression_projector_is_initialized_by_least_squares(error, batch):
    student, teacher = batch
    initial = student.detach()
    loss = losses.Regression(error, initial, teacher)
    prediction = initial.numpy() @ np.linalg.lstsq(initial.numpy(), teacher.numpy())[0]
    expected = {
        losses.squared_error: np.mean((prediction - teacher.numpy()) ** 2),
        losses.cosine_error: np.mean(
            [1 - cosine(*rows) for rows in zip(prediction, teacher.numpy(), strict=True)]
        ),
    }[error]
    value = loss(student, teacher)
    value.backward()
    assert_allclose(value.item(), expected, rtol=1e-6)
    assert student.grad.isfinite().all()
    assert loss.projector.grad.isfinite().all()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_regression_loss_of_a_rotated_teacher_is_zero(error, batch):
    _, teacher = batch
    rotated = teacher @ torch.linalg.qr(teacher[:6]).Q
    loss = losses.Regression(error, rotated, teacher)
    assert_allclose(loss(rotated, teacher).item(), 0, atol=1e-12)


def test_held_out_rows_and_training_rows_are_a_partition():
    X = np.random.default_rng(0).normal(size=(300, 8))
    held_out, fitted = hold_out(cases.Rows(X, X, None), seed=0)
    assert len(held_out.X) == 30
    together = np.concatenate([fitted.X, held_out.X])
    assert_allclose(np.sort(together, axis=0), np.sort(X, axis=0))


def test_other_losses_start_from_the_initialization_of_the_distiller():
    X = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    task = methods.Task(cases.Rows(X, X, None), True, "cosine", 4, seed=0, steps=0)
    distilled = methods.METHODS["distiller"].fit(task)(X)
    assert_allclose(methods.METHODS["pkt"].fit(task)(X), distilled, atol=1e-6)


@pytest.fixture
def files(tmp_path):
    """A teacher, another input and labels, as files."""
    rng = np.random.default_rng(0)
    teacher = rng.normal(size=(330, 12)) * np.linspace(2, 0.2, 12)
    arrays = {
        "teacher": teacher,
        "input": teacher @ rng.normal(size=(12, 20)),
        "labels": (teacher[:, 0] > 0).astype(int),
    }
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    return {name: str(tmp_path / f"{name}.npy") for name in arrays}


def run(files, tmp_path, names, *extra):
    options = [f"--{name}={files[name]}" for name in names]
    small = ["--fit-rows=250", "--dims", "4", "12", "--seeds=1", "--steps=2"]
    fidelity.main([*options, *small, f"--output={tmp_path}", *extra])
    return (tmp_path / "fidelity.md").read_text(encoding="utf-8")


def methods_in(text):
    """First column of the table, without the two lines of its heading."""
    return [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")][2:]


def titles(compression, *skipped):
    return [
        method.title
        for name, method in methods.METHODS.items()
        if method.suits(compression) and name not in skipped
    ]


@pytest.mark.parametrize("names", [["teacher"], ["teacher", "input", "labels"]])
def test_table_contains_every_method(names, files, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fidelity.importlib.util, "find_spec", lambda name: None)
    text = run(files, tmp_path, names)
    assert methods_in(text) == titles("input" not in names, "umap")
    assert ("logistic accuracy" in text) == ("labels" in names)
    assert "Better than the default" in text
    assert (tmp_path / "fidelity.png").stat().st_size > 10_000
    captured = capsys.readouterr()
    assert text in captured.out
    assert "UMAP is skipped" in captured.err
    assert "no more than 12 dimensions: skipped" in captured.err


def test_only_selected_methods_run(files, tmp_path):
    text = run(files, tmp_path, ["teacher"], "--metric=euclidean", "--methods", "pca", "sp")
    assert methods_in(text) == ["PCA", "SP"]


@pytest.mark.parametrize("name", cases.CASES)
def test_arrays_of_a_case_have_equal_numbers_of_rows(name):
    case = cases.load_case(name)
    for rows in (case.fit, case.test):
        assert rows.X.shape[0] == len(rows.teacher) == len(rows.labels)
    assert case.compression == (case.fit.X.shape == case.fit.teacher.shape)


def test_methods_better_than_the_default_are_named():
    def scores(coherence, recall):
        return [{"coherence": coherence, "recall@10": recall}]

    panel = report.Panel(
        "", {"pca": scores(0.8, 0.5), "svd": scores(0.9, 0.3), "distiller": scores(0.7, 0.4)}
    )
    assert report.table(panel).endswith("recall@10: PCA.")


def test_labels_do_not_overlap():
    heights = report._spread_out([0.5, 0.5, 0.5, 0.97, 0.98])
    assert (np.diff(heights) > 0.05).all()
    assert heights[-1] <= 1
