"""Fits by several processes that communicate by gloo."""

import os
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from builders import small

from skperco import (
    CoherenceDistiller,
    neighbor_recall_score,
    perception_coherence_score,
)
from skperco.datasets import load_wordnet_glosses
from skperco.training._distributed import Processes
from skperco.training._settings import Settings
from skperco.training._teacher import Teacher
from skperco.training._trainer import Trainer
from skperco.utils._chunking import RowTaker

pytestmark = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()),
    reason="needs gloo",
)

# A script for all processes: process r of n fits to every n-th row from the r-th on.
BEGIN = """
import numpy as np, torch
from torch import distributed
from skperco import CoherenceDistiller
distributed.init_process_group("gloo")
rank, size = distributed.get_rank(), distributed.get_world_size()
"""
FIT = """
data = np.load("{name}.npz")
parts = [data[name][rank::size] for name in ("X", "teacher") if name in data]
distiller = CoherenceDistiller(distributed=True, **{parameters})
{before}
distiller.fit(*parts)
np.savez(
    f"{name} {{rank}}",
    weights=torch.cat([part.flatten() for part in distiller.student_.state_dict().values()]),
    embeddings=distiller.transform(data.get("new", data["X"])),
    n_samples=distiller.n_samples_seen_,
    fraction=distiller.fraction_,
    losses=distiller.loss_curve_,
)
"""
END = """
distributed.destroy_process_group()
"""


class Case(NamedTuple):
    """A fit by several processes: its parameters, its data and code to run before it."""

    parameters: dict
    data: dict
    before: str = ""


def fit_together(folder, cases, size=2):
    """Results of each case in each process, from one group of processes started by torchrun."""
    script = [BEGIN]
    for name, case in cases.items():
        np.savez(folder / f"{name}.npz", **case.data)
        script.append(FIT.format(name=name, parameters=case.parameters, before=case.before))
    (folder / "worker.py").write_text("".join([*script, END]))
    torchrun(folder, "worker.py", size=size)
    return {
        name: [np.load(folder / f"{name} {rank}.npz") for rank in range(size)] for name in cases
    }


def torchrun(folder, *arguments, size=2):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*command, f"--nproc-per-node={size}", *arguments],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)


QUICK = {"n_components": 4, "max_iter": 12, "batch_size": 32, "n_references": 32}
SEEDED = QUICK | {"random_state": 0}


@pytest.fixture(scope="module")
def rows():
    return load_wordnet_glosses().data[:600]


MODULE = """
class Module(torch.nn.Sequential):
    def __init__(self):
        super().__init__(torch.nn.Linear(384, 4), torch.nn.BatchNorm1d(4))

distiller.set_params(student=Module())
"""


@pytest.fixture(scope="module")
def fits(rows, tmp_path_factory):
    """Fits of all cases by the same two processes, since starting them takes most of the time."""
    mlp = {"student": "mlp", "hidden_layer_sizes": (8,)}
    X = np.zeros((400, 8), dtype=np.float32)
    rng = np.random.default_rng(0)
    X[::2, :4], X[1::2, 4:] = rng.normal(size=(2, 200, 4))
    cases = {
        "compression": Case(SEEDED, {"X": rows}),
        "no seed": Case(QUICK, {"X": rows}),
        "transfer": Case(SEEDED | mlp, {"X": rows[:, ::2], "teacher": rows}),
        "module": Case(SEEDED, {"X": rows, "teacher": rows}, MODULE),
        "orthogonal": Case(SEEDED | {"n_components": 8}, {"X": X}),
    }
    return fit_together(tmp_path_factory.mktemp("fits"), cases)


@pytest.mark.parametrize("case", ["compression", "no seed", "transfer"])
def test_every_process_ends_with_the_same_student(fits, case):
    first, second = fits[case]
    for name in ("weights", "embeddings", "n_samples", "fraction", "losses"):
        np.testing.assert_array_equal(first[name], second[name])
    assert first["n_samples"] == 600
    assert len(first["losses"]) in (0, 12)
    assert np.isfinite(first["weights"]).all()


def test_statistics_of_a_custom_module_are_the_same_in_every_process(fits):
    first, second = fits["module"]
    np.testing.assert_array_equal(first["weights"], second["weights"])


def test_the_student_learns_from_the_rows_of_all_processes(fits):
    # The rows of the two processes lie in orthogonal subspaces.
    first, second = fits["orthogonal"]
    np.testing.assert_array_equal(first["weights"], second["weights"])
    assert np.linalg.matrix_rank(first["embeddings"], tol=1e-3) == 8


@pytest.mark.slow
def test_a_group_of_one_process_fits_as_a_process_without_a_group(rows, tmp_path):
    found = fit_together(tmp_path, {"alone": Case(SEEDED, {"X": rows})}, size=1)["alone"][0]
    expected = CoherenceDistiller(**SEEDED).fit(rows).transform(rows)
    # The number of threads may differ, and with it the rounding of sums.
    np.testing.assert_allclose(found["embeddings"], expected, atol=1e-3)


COLLECTIVES = """
import numpy as np, torch
from torch import distributed
from skperco.training._distributed import Processes
from skperco.training._samples import Samples
distributed.init_process_group("gloo")
processes = Processes(together=True)
rank = processes.rank
assert processes.size == 2
assert processes.broadcast_object({"rank": rank}) == {"rank": 0}
assert processes.all_gather(torch.tensor([rank, rank + 5])).tolist() == [0, 5, 1, 6]
given = [torch.full((2, 2), float(rank)), torch.tensor([3.0 * rank])]
whole, part = processes.all_reduce_mean(given)
assert whole.tolist() == [[0.5, 0.5], [0.5, 0.5]] and part.tolist() == [1.5]
module = torch.nn.Linear(3, 2)
module.weight.data = module.weight.data.T.contiguous().T  # not contiguous
torch.nn.init.constant_(module.weight, rank)
processes.broadcast_module(module)
assert (module.weight == 0).all()
samples = Samples(np.full((9, 2), rank), np.ones(9), None, "cosine")
pooled, n_samples = processes.gather_samples(samples, 6, np.random.RandomState(0))
assert pooled.X[:, 0].tolist() == [0] * 3 + [1] * 3 and n_samples == 18
distributed.destroy_process_group()
"""


def test_collectives_of_two_processes(tmp_path):
    (tmp_path / "collectives.py").write_text(COLLECTIVES)
    torchrun(tmp_path, "collectives.py")


def test_references_of_all_processes_are_gathered(rows):
    class Echo(Processes):
        def all_gather(self, tensor):
            return torch.cat([tensor, tensor])

    student = torch.nn.Linear(rows.shape[1], 4)
    settings = Settings("cosine", 1.0, 16, 30, 10, 0.1, 5)
    teacher = Teacher(rows, "cosine", torch.device("cpu"))
    take = RowTaker(rows, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    weight = torch.ones(len(rows))
    trainer = Trainer(student, take, teacher, settings, weight, generator, Echo()).prepare()
    ((global_term, _),) = trainer.terms
    (_, references), ranks = global_term.draw(torch.arange(16))
    assert len(references) == 60
    assert ranks.shape == (16, 60)


def test_every_process_but_the_first_has_another_seed():
    alone, second = Processes(), Processes()
    second.size, second.rank = 2, 1
    generator = torch.Generator().manual_seed(3)
    assert alone.rank_generator(generator) is generator
    draws = [torch.rand(4, generator=one) for one in (generator, second.rank_generator(generator))]
    assert not torch.equal(*draws)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_gathered_samples_are_a_bounded_sample_of_all_processes(monkeypatch, kind):
    from skperco.training._samples import Samples

    sizes = (30, 70)
    shards = [
        Samples(kind(np.full((n, 2), rank, dtype=float)), np.ones(n), None, "cosine")
        for rank, n in enumerate(sizes)
    ]

    def pooled(rank, contributions):
        processes = Processes()
        processes.size, processes.rank = 2, rank
        monkeypatch.setattr(processes, "_all", lambda value: contributions.pop(0)(value))
        return processes.gather_samples(shards[rank], 20, np.random.RandomState(0))

    seen = []
    for rank in range(2):
        pooled(rank, [lambda _: list(sizes), lambda part: (seen.append(part), [part] * 2)[1]])
    samples, n_samples = pooled(0, [lambda _: list(sizes), lambda _: seen])
    assert n_samples == 100
    first_column = samples.X[:, [0]]
    first_column = first_column.toarray() if sp.issparse(first_column) else first_column
    assert first_column.ravel().tolist() == [0] * 6 + [1] * 14


def test_a_missing_process_group_is_refused(rows, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="init_process_group"):
        small(distributed=True).fit(rows)
    small().fit(rows)


@pytest.fixture
def one_of_two(monkeypatch):
    """Simulate the first of two processes; the other never answers."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    monkeypatch.setattr(torch.distributed, "broadcast_object_list", lambda values: None)


def test_partial_fit_by_several_processes_is_refused(rows, one_of_two):
    with pytest.raises(ValueError, match="partial_fit does not support distributed"):
        small(distributed=True).partial_fit(rows)


def test_a_precomputed_teacher_of_several_processes_is_refused(rows, one_of_two):
    distiller = small(distributed=True, teacher_metric="precomputed")
    with pytest.raises(
        ValueError, match="distributed=True does not support teacher_metric='precomputed'"
    ):
        distiller.fit(rows, np.zeros((len(rows), len(rows))))


@pytest.mark.slow
def test_two_processes_score_as_well_as_one_with_as_many_references(tmp_path):
    rows = load_wordnet_glosses().data
    data = {"X": rows[:4000], "new": rows[4000:]}
    scores = {1: [], 2: []}
    for size in scores:
        folder = tmp_path / str(size)
        folder.mkdir()
        parameters = {
            "n_components": 16,
            "n_references": 512 // size,
            "batch_size": 2048 // size,
        }
        cases = {f"seed {i}": Case(parameters | {"random_state": i}, data) for i in range(3)}
        for first, *_ in fit_together(folder, cases, size=size).values():
            embeddings = first["embeddings"]
            coherence = perception_coherence_score(data["new"], embeddings)
            scores[size].append([coherence, neighbor_recall_score(data["new"], embeddings)])
    one, two = (np.array(scores[size]) for size in (1, 2))
    noise = np.hypot(one.std(axis=0, ddof=1), two.std(axis=0, ddof=1))
    assert (np.abs(one.mean(axis=0) - two.mean(axis=0)) < 2 * noise + 1e-3).all()
