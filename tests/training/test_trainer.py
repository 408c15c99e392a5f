import copy
import gc
import weakref

import numpy as np
import pytest
import torch
from references import global_random_states

from skperco import perception_coherence_score
from skperco.datasets import load_wordnet_glosses
from skperco.students._builtin import LinearStudent, MLPStudent
from skperco.training._settings import Settings
from skperco.training._teacher import Teacher
from skperco.training._trainer import Trainer
from skperco.utils._chunking import RowTaker

CPU = torch.device("cpu")
N_ROWS = 250


@pytest.fixture(scope="module")
def rows():
    return load_wordnet_glosses().data[:N_ROWS]


def poor_student(rows, student="linear"):
    """A random projection, with or without an MLP."""
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(16, rows.shape[1], generator=generator), torch.zeros(16)
    start = LinearStudent(weight, bias)
    return start if student == "linear" else MLPStudent(start, (32,), 1.0, generator)


def trainer_of(
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
    return Trainer(
        student,
        RowTaker(rows, CPU) if take is None else take,
        Teacher(rows, metric, CPU),
        Settings(metric=metric, **settings),
        torch.ones(len(rows)) if sample_weight is None else sample_weight,
        torch.Generator().manual_seed(seed),
    ).prepare()


def parameters_of(student):
    return [parameter.detach().clone() for parameter in student.parameters()]


def assert_equal(parameters, others):
    assert all(torch.equal(*pair) for pair in zip(parameters, others, strict=True))


@pytest.mark.parametrize("student", ["linear", "mlp"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean", "manhattan"])
def test_training_improves_a_random_student(rows, student, metric):
    student = poor_student(rows, student)

    def coherence():
        embedded = student(torch.from_numpy(rows)).detach().numpy()
        return perception_coherence_score(rows, embedded, metric=metric)

    before = coherence()
    trainer = trainer_of(rows, student, metric=metric)
    losses = torch.stack(list(trainer.run()))
    trainer.interpolate(1)
    assert losses[-10:].mean() < losses[:5].mean()
    assert coherence() > before + 0.03


@pytest.mark.parametrize("rank_power", [0.0, 1.0])
def test_each_loss_decreases_without_the_other(rows, rank_power):
    trainer = trainer_of(rows, poor_student(rows), rank_power=rank_power)
    losses = torch.stack(list(trainer.run()))
    assert losses[-10:].mean() < losses[:5].mean()


@pytest.mark.parametrize("student", ["linear", "mlp"])
def test_interpolation_leads_from_the_initialization_to_an_average_of_the_steps(rows, student):
    student = poor_student(rows, student)
    start = parameters_of(student)
    trainer = trainer_of(rows, student, max_iter=30)
    steps = [start] + [parameters_of(student) for _ in trainer.run()]
    trainer.interpolate(1)
    ends = parameters_of(student)
    for end, *passed in zip(ends, *steps, strict=True):
        lowest, highest = torch.stack(passed).aminmax(dim=0)
        assert ((lowest - 1e-5 <= end) & (end <= highest + 1e-5)).all()
        if not torch.equal(passed[0], passed[-1]):
            assert (end - passed[-1]).norm() < (end - passed[0]).norm()
    trainer.interpolate(0.25)
    for found, first, end in zip(student.parameters(), start, ends, strict=True):
        np.testing.assert_allclose(found.detach(), 0.75 * first + 0.25 * end, atol=1e-5)
    trainer.interpolate(0)
    assert_equal(student.parameters(), start)


def test_one_loss_is_yielded_before_each_step(rows):
    student = poor_student(rows)
    start = parameters_of(student)
    losses = list(trainer_of(rows, student, max_iter=7).run())
    assert len(losses) == 7
    assert not torch.equal(student.weight, start[0])
    again = next(trainer_of(rows, poor_student(rows), max_iter=7).run())
    assert losses[0] == again


def rows_taken(rows, **settings):
    """Indices of the rows that each loss of each step compares."""
    taken = []
    taker = RowTaker(rows, CPU)

    def take(indices):
        taken.append(indices)
        return taker(indices)

    trainer = trainer_of(rows, poor_student(rows), take=take, **settings)
    list(trainer.run())
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


def test_the_local_loss_uses_nearest_neighbors_only(rows):
    neighbors = Teacher(rows, "cosine", CPU).nearest(5)[0]
    taken = rows_taken(rows, rank_power=0.0, batch_size=1, n_neighbors=5, max_iter=30)
    for indices in map(torch.Tensor.tolist, taken):
        assert any(set(indices) <= {anchor, *neighbors[anchor].tolist()} for anchor in indices)


def test_no_row_is_embedded_twice_for_one_loss(rows):
    for indices in rows_taken(rows, batch_size=8, n_references=100, max_iter=2):
        assert len(indices) == len(set(indices.tolist()))


@pytest.mark.parametrize("n_drawn", [30, 400])
def test_drawn_rows_have_their_own_embeddings(rows, n_drawn):
    """Both if only the drawn rows are embedded and if all rows are."""
    student = poor_student(rows)
    drawn = [(torch.arange(7), torch.arange(n_drawn) * 3 % N_ROWS)]
    embeddings, positions = trainer_of(rows, student)._embed_drawn(drawn)
    all_embeddings = torch.nn.functional.normalize(student(torch.from_numpy(rows)))
    for indices, at in zip(drawn[0], positions[0], strict=True):
        torch.testing.assert_close(embeddings[at], all_embeddings[indices])
    assert (len(embeddings) == N_ROWS) == (n_drawn > N_ROWS)


def test_the_global_weight_grows_with_rank_power_and_with_a_better_initialization(rows):
    def global_weight(student, rank_power=0.5):
        terms = trainer_of(rows, student, rank_power=rank_power).terms
        (_, local_weight), (_, global_weight) = terms
        return global_weight / local_weight

    poor = poor_student(rows)
    weights = [global_weight(poor, power) for power in (0.2, 0.5, 0.8)]
    assert weights == sorted(weights)
    assert weights[1] == pytest.approx(4 * weights[0])
    perfect = LinearStudent(torch.eye(rows.shape[1]), torch.zeros(rows.shape[1]))
    assert global_weight(perfect) > weights[1] > 0
    for power in (0.0, 1.0):
        assert len(trainer_of(rows, poor, rank_power=power).terms) == 1


def test_the_seed_determines_the_result_and_global_states_are_unchanged(rows):
    states = global_random_states()
    students = [poor_student(rows) for _ in range(3)]
    for student, seed in zip(students, [0, 0, 1], strict=True):
        list(trainer_of(rows, student, seed=seed, max_iter=5).run())
    assert_equal(students[0].parameters(), students[1].parameters())
    assert not torch.equal(students[0].weight, students[2].weight)
    assert global_random_states() == states


def test_a_perfect_student_stays_finite():
    rows = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    student = LinearStudent(torch.eye(4), torch.zeros(4))
    losses = torch.stack(list(trainer_of(rows, student, n_neighbors=6).run()))
    assert losses.isfinite().all()
    assert student.weight.isfinite().all()


def test_identical_rows_leave_the_student_unchanged():
    rows = np.ones((30, 4), dtype=np.float32)
    student = poor_student(rows)
    losses = torch.stack(list(trainer_of(rows, student, n_neighbors=3, max_iter=3).run()))
    assert losses.isfinite().all()
    assert_equal(student.parameters(), parameters_of(poor_student(rows)))


def test_the_global_loss_uses_half_as_many_anchors_in_the_warm_up(rows, monkeypatch):
    monkeypatch.setattr("skperco.training._trainer._GLOBAL_ANCHORS", 40)
    anchors, drawn = torch.arange(64), []
    trainer = trainer_of(rows, poor_student(rows), max_iter=9)
    for _ in trainer.run():
        taken, references = trainer._draw_pair(anchors)
        assert len(references) == 128
        assert torch.equal(taken, anchors[: len(taken)])
        drawn.append(len(taken))
    assert drawn == 2 * [20] + 7 * [40]


def test_a_resumed_training_continues_from_the_snapshot(rows):
    """It reaches the same end if it draws the same rows."""
    first, second = poor_student(rows), poor_student(rows)
    validation = trainer_of(rows, first, max_iter=12)
    states = []
    for _ in validation.run(keep_snapshot=True):
        states.append(parameters_of(first))
    resumed = trainer_of(rows, second, max_iter=12)
    resumed.load_state_dict(validation.snapshot)
    assert resumed.n_steps == 4
    assert_equal(second.parameters(), states[3])
    resumed.generator.set_state(generator_after(rows, n_steps=4))
    assert len(list(resumed.run())) == 8
    assert resumed.losses[:4] == validation.losses[:4]
    assert_equal(second.parameters(), states[-1])
    resumed.interpolate(0)
    assert_equal(second.parameters(), parameters_of(poor_student(rows)))


def generator_after(rows, n_steps):
    """State of the generator of a training after some steps."""
    trainer = trainer_of(rows, poor_student(rows), max_iter=12)
    for _ in zip(range(n_steps), trainer.run(), strict=False):
        pass
    return trainer.generator.get_state()


def test_the_memory_of_a_trainer_is_free_without_a_garbage_collection(rows):
    """A reference cycle would keep its tensors while the next student is fitted."""
    trainer = trainer_of(rows, poor_student(rows), max_iter=2)
    list(trainer.run())
    reference = weakref.ref(trainer)
    gc.disable()
    try:
        del trainer
        assert reference() is None
    finally:
        gc.enable()


def test_a_snapshot_is_not_changed_by_later_steps(rows):
    trainer = trainer_of(rows, poor_student(rows), max_iter=12)
    steps = trainer.run()
    next(steps)
    state = trainer.state_dict()
    kept = copy.deepcopy(state)
    list(steps)
    assert state["losses"] == kept["losses"]
    for name in ("parameters", "momentum_buffers"):
        assert_equal(state["optimizer"][name], kept["optimizer"][name])
    for name in ("initial", "averages"):
        assert_equal(state[name], kept[name])
