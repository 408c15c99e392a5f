"""The benchmark runs, and the rival losses are what their formulas say."""

import fidelity
import numpy as np
import pytest
import torch
from numpy.linalg import norm
from numpy.testing import assert_allclose
from rivals import cases, losses, methods, report
from rivals.training import ClosedForm


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

    few = round(len(student) ** (2 / 3))
    return np.mean(
        [
            huber(angle(student, i, j, k) - angle(teacher, i, j, k))
            for j in range(few)
            for i, k in pairs(few)
            if j not in (i, k)
        ]
    )


def divergence(probability, student, teacher):
    n = len(student)
    total = 0.0
    for i in range(n):
        wanted = np.array([probability(teacher, i, j) for j in range(n) if j != i])
        given = np.array([probability(student, i, j) for j in range(n) if j != i])
        wanted, given = wanted / wanted.sum(), given / given.sum()
        total += (wanted * np.log(wanted / given)).sum() / n
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
        for kept, listed in ((every, others), (nearest, by_nearness[:10])):
            kept += [
                abs(cosine(student[i], student[j]) - cosine(teacher[i], teacher[j])) for j in listed
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
    """Rows of a student and of its teacher, which resemble each other."""
    teacher = torch.randn(14, 6, generator=torch.Generator().manual_seed(0)).double()
    return teacher[:, :4].clone().requires_grad_(), teacher


@pytest.mark.parametrize("slow", RELATIONS, ids=lambda slow: slow.__name__)
def test_a_loss_of_relations_is_its_formula(slow, batch):
    fast = getattr(losses, slow.__name__)
    student, teacher = batch
    assert_allclose(
        fast(student, teacher).item(), slow(student.detach().numpy(), teacher.numpy()), rtol=1e-6
    )


@pytest.mark.parametrize("slow", RELATIONS, ids=lambda slow: slow.__name__)
def test_a_loss_of_relations_is_zero_for_the_teacher_itself(slow, batch):
    loss = getattr(losses, slow.__name__)
    _, teacher = batch
    student = teacher.clone().requires_grad_()
    value = loss(student, teacher)
    value.backward()
    assert_allclose(value.item(), 0, atol=1e-12)
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("slow", RELATIONS, ids=lambda slow: slow.__name__)
def test_coincident_rows_have_finite_gradients(slow, batch):
    loss = getattr(losses, slow.__name__)
    _, teacher = batch
    student = teacher[:, :4].clone()
    student[1] = student[0]
    student.requires_grad_()
    loss(student, teacher).backward()
    assert student.grad.isfinite().all()
    assert student.grad.abs().sum() > 0


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_regression_starts_from_least_squares(error, batch):
    student, teacher = batch
    images = student.detach()
    loss = losses.Regression(error, images, teacher)
    prediction = images.numpy() @ np.linalg.lstsq(images.numpy(), teacher.numpy())[0]
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
def test_regression_is_zero_for_the_rotated_teacher(error, batch):
    _, teacher = batch
    rotated = teacher @ torch.linalg.qr(teacher[:6]).Q
    loss = losses.Regression(error, rotated, teacher)
    assert_allclose(loss(rotated, teacher).item(), 0, atol=1e-12)


def test_rivals_see_the_rows_that_the_distiller_sees():
    X = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    start = ClosedForm(4, max_iter=0, random_state=0).fit(X)
    assert len(start.held_out_.X) == 30
    together = np.concatenate([start.fitted_.X, start.held_out_.X])
    assert_allclose(np.sort(together, axis=0), np.sort(X, axis=0))
    final = start.transform(X)
    on_all, on_fitted = (start.start_on(part) for part in (start.samples_, start.fitted_))
    assert_allclose(unit(on_all.embed(X)), final, atol=1e-6)
    assert np.abs(unit(on_fitted.embed(X)) - final).max() > 1e-4


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


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


def run(files, tmp_path, names, *chosen):
    options = [f"--{name}={files[name]}" for name in names]
    small = ["--fit-rows=250", "--dims", "4", "12", "--seeds=1", "--steps=2"]
    fidelity.main([*options, *small, f"--output={tmp_path}", *chosen])
    return (tmp_path / "fidelity.md").read_text(encoding="utf-8")


def methods_in(text):
    """First column of the table, without its two lines of heading."""
    return [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")][2:]


def titles(compression, *left_out):
    return [
        method.title
        for name, method in methods.METHODS.items()
        if method.suits(compression) and name not in left_out
    ]


@pytest.mark.parametrize("names", [["teacher"], ["teacher", "input", "labels"]])
def test_the_table_names_every_method(names, files, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fidelity.importlib.util, "find_spec", lambda name: None)
    text = run(files, tmp_path, names)
    assert methods_in(text) == titles("input" not in names, "umap")
    assert ("logistic accuracy" in text) == ("labels" in names)
    assert "Ahead of the default" in text
    assert (tmp_path / "fidelity.png").stat().st_size > 10_000
    captured = capsys.readouterr()
    assert text in captured.out
    assert "UMAP is left out" in captured.err
    assert "no more than 12 dimensions: left out" in captured.err


def test_only_chosen_methods_run(files, tmp_path):
    text = run(files, tmp_path, ["teacher"], "--metric=euclidean", "--methods", "pca", "sp")
    assert methods_in(text) == ["PCA", "SP"]


@pytest.mark.parametrize("name", cases.CASES)
def test_a_case_has_matching_rows(name):
    case = cases.load_case(name)
    for rows in (case.fit, case.judged):
        assert rows.X.shape[0] == len(rows.teacher) == len(rows.labels)
    assert case.compression == (case.fit.X.shape == case.fit.teacher.shape)


def test_the_verdict_names_who_is_ahead():
    def figures(coherence, recall):
        return [{"coherence": coherence, "recall@10": recall}]

    panel = report.Panel(
        "", {"pca": figures(0.8, 0.5), "svd": figures(0.9, 0.3), "distiller": figures(0.7, 0.4)}
    )
    assert report.table(panel).endswith("recall@10: PCA.")


def test_labels_keep_their_distance():
    heights = report._spread_out([0.5, 0.5, 0.5, 0.97, 0.98])
    assert (np.diff(heights) > 0.05).all()
    assert heights[-1] <= 1
