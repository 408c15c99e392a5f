import numpy as np
import pytest
import torch
from references import global_random_states

from skperco import perception_coherence_score
from skperco.datasets import load_wordnet_glosses
from skperco.students._builtin import LinearStudent, MLPStudent
from skperco.training._optimizer import Refinement, Settings
from skperco.training._teacher import Teacher
from skperco.utils._chunking import RowTaker

CPU = torch.device("cpu")
N_ROWS = 250


@pytest.fixture(scope="module")
def rows():
    return load_wordnet_glosses().data[:N_ROWS]


def poor_student(rows, student="linear"):
    """A student with random weights."""
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(16, rows.shape[1], generator=generator), torch.zeros(16)
    start = LinearStudent(weight, bias)
    return start if student == "linear" else MLPStudent(start, (32,), 1.0, generator)


def refinement_of(
    rows, student, *, take=None, sample_weight=None, seed=0, metric="cosine", **settings
):
    settings = {
        "rank_power": 0.5,
        "batch_size": 64,
        "n_references": 128,
        "n_neighbors": 25,
        "learning_rate_init": 0.1,
        "max_iter": 40,
    } | settings
    return Refinement(
        student,
        RowTaker(rows, CPU) if take is None else take,
        Teacher(rows, metric, CPU),
        Settings(metric=metric, **settings),
        torch.ones(len(rows)) if sample_weight is None else sample_weight,
        torch.Generator().manual_seed(seed),
    )


def parameters_of(student):
    return [parameter.detach().clone() for parameter in student.parameters()]


def assert_equal(parameters, others):
    assert all(torch.equal(*pair) for pair in zip(parameters, others, strict=True))


@pytest.mark.parametrize("student", ["linear", "mlp"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean", "manhattan"])
def test_training_improves_a_random_student(rows, student, metric):
    student = poor_student(rows, student)

    def coherence():
        images = student(torch.from_numpy(rows)).detach().numpy()
        return perception_coherence_score(rows, images, metric=metric)

    before = coherence()
    refinement = refinement_of(rows, student, metric=metric)
    losses = torch.stack(list(refinement.run()))
    refinement.blend(1)
    assert losses[-10:].mean() < losses[:5].mean()
    assert coherence() > before + 0.03


@pytest.mark.parametrize("rank_power", [0.0, 1.0])
def test_each_loss_decreases_when_used_alone(rows, rank_power):
    refinement = refinement_of(rows, poor_student(rows), rank_power=rank_power)
    losses = torch.stack(list(refinement.run()))
    assert losses[-10:].mean() < losses[:5].mean()


@pytest.mark.parametrize("student", ["linear", "mlp"])
def test_interpolation_ends_at_an_average_of_the_steps(rows, student):
    student = poor_student(rows, student)
    start = parameters_of(student)
    refinement = refinement_of(rows, student, max_iter=30)
    steps = [start] + [parameters_of(student) for _ in refinement.run()]
    refinement.blend(1)
    ends = parameters_of(student)
    for end, *passed in zip(ends, *steps, strict=True):
        lowest, highest = torch.stack(passed).aminmax(dim=0)
        assert ((lowest - 1e-5 <= end) & (end <= highest + 1e-5)).all()
        if not torch.equal(passed[0], passed[-1]):
            assert (end - passed[-1]).norm() < (end - passed[0]).norm()
    refinement.blend(0.25)
    for found, first, end in zip(student.parameters(), start, ends, strict=True):
        np.testing.assert_allclose(found.detach(), 0.75 * first + 0.25 * end, atol=1e-5)
    refinement.blend(0)
    assert_equal(student.parameters(), start)


def test_every_step_yields_the_loss_before_it(rows):
    student = poor_student(rows)
    start = parameters_of(student)
    losses = list(refinement_of(rows, student, max_iter=7).run())
    assert len(losses) == 7
    assert not torch.equal(student.weight, start[0])
    again = next(refinement_of(rows, poor_student(rows), max_iter=7).run())
    assert losses[0] == again


def rows_taken(rows, **settings):
    """Indices of the rows embedded in each step."""
    taken = []
    taker = RowTaker(rows, CPU)

    def take(numbers):
        taken.append(numbers)
        return taker(numbers)

    refinement = refinement_of(rows, poor_student(rows), take=take, **settings)
    list(refinement.run())
    return taken


def test_rows_of_weight_zero_are_never_drawn(rows):
    weights = torch.arange(N_ROWS) % 3
    taken = rows_taken(
        rows, sample_weight=weights.float(), rank_power=1.0, batch_size=8, n_references=8
    )
    counts = torch.bincount(torch.cat(taken), minlength=N_ROWS)
    assert (counts[weights == 0] == 0).all()
    assert (counts[weights > 0] > 0).any()
    assert 1.4 < counts[weights == 2].float().mean() / counts[weights == 1].float().mean() < 2.6


def test_local_loss_uses_only_the_nearest_neighbors(rows):
    neighbors = Teacher(rows, "cosine", CPU).nearest(5)[0]
    taken = rows_taken(rows, rank_power=0.0, batch_size=1, n_neighbors=5, max_iter=30)
    for seen in taken:
        assert any(
            set(seen.tolist()) <= {anchor, *neighbors[anchor].tolist()} for anchor in seen.tolist()
        )


def test_rows_of_a_step_are_embedded_once(rows):
    for numbers in rows_taken(rows, batch_size=8, n_references=100, max_iter=2):
        assert len(numbers) == len(set(numbers.tolist()))


@pytest.mark.parametrize("n_drawn", [30, 400])
def test_the_rows_drawn_are_mapped_to_their_embeddings(rows, n_drawn):
    """Both if only these rows are embedded, and if all are."""
    student = poor_student(rows)
    drawn = [(torch.arange(7), torch.arange(n_drawn) * 3 % N_ROWS)]
    images, places = refinement_of(rows, student)._images(drawn)
    everyone = torch.nn.functional.normalize(student(torch.from_numpy(rows)))
    for numbers, at in zip(drawn[0], places[0], strict=True):
        torch.testing.assert_close(images[at], everyone[numbers])
    assert (len(images) == N_ROWS) == (n_drawn > N_ROWS)


def test_global_weight_grows_with_rank_power_and_with_a_better_initialization(rows):
    def global_weight(student, rank_power=0.5):
        (_, near), (_, far) = refinement_of(rows, student, rank_power=rank_power).terms
        return far / near

    poor = poor_student(rows)
    weights = [global_weight(poor, power) for power in (0.2, 0.5, 0.8)]
    assert weights == sorted(weights)
    assert weights[1] == pytest.approx(4 * weights[0])
    perfect = LinearStudent(torch.eye(rows.shape[1]), torch.zeros(rows.shape[1]))
    assert global_weight(perfect) > weights[1] > 0
    for power in (0.0, 1.0):
        assert len(refinement_of(rows, poor, rank_power=power).terms) == 1


def test_steps_depend_only_on_the_seed_and_keep_global_random_states(rows):
    states = global_random_states()
    students = [poor_student(rows) for _ in range(3)]
    for student, seed in zip(students, [0, 0, 1], strict=True):
        list(refinement_of(rows, student, seed=seed, max_iter=5).run())
    assert_equal(students[0].parameters(), students[1].parameters())
    assert not torch.equal(students[0].weight, students[2].weight)
    assert global_random_states() == states


def test_training_of_a_perfect_student_stays_finite():
    rows = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    student = LinearStudent(torch.eye(4), torch.zeros(4))
    losses = torch.stack(list(refinement_of(rows, student, n_neighbors=6).run()))
    assert losses.isfinite().all()
    assert student.weight.isfinite().all()


def test_identical_rows_do_not_change_the_student():
    rows = np.ones((30, 4), dtype=np.float32)
    student = poor_student(rows)
    losses = torch.stack(list(refinement_of(rows, student, n_neighbors=3, max_iter=3).run()))
    assert losses.isfinite().all()
    assert_equal(student.parameters(), parameters_of(poor_student(rows)))


def test_global_loss_uses_half_as_many_anchors_during_warm_up(rows, monkeypatch):
    monkeypatch.setattr("skperco.training._optimizer._GLOBAL_ANCHORS", 40)
    anchors, drawn = torch.arange(64), []
    refinement = refinement_of(rows, poor_student(rows), max_iter=9)
    for _ in refinement.run():
        taken, references = refinement._pair(anchors)
        assert len(references) == 128
        assert torch.equal(taken, anchors[: len(taken)])
        drawn.append(len(taken))
    assert drawn == 2 * [20] + 7 * [40]


def test_training_resumes_from_the_snapshot_of_another(rows):
    """And reaches the same end if it draws the same random numbers."""
    first, second = poor_student(rows), LinearStudent(torch.zeros(16, 384), torch.zeros(16))
    trial = refinement_of(rows, first, max_iter=12)
    states = []
    for _ in trial.run(keep_snapshot=True):
        states.append(parameters_of(first))
    fork = refinement_of(rows, second, max_iter=12)
    fork.resume_from(trial)
    assert trial.snapshot is None
    assert fork.n_taken == 4
    assert_equal(second.parameters(), states[3])
    assert len(list(fork.run())) == 8
    fork.blend(0)
    assert_equal(second.parameters(), parameters_of(poor_student(rows)))
