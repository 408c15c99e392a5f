"""Fits by several processes, in processes of their own that talk by gloo."""

import os
import subprocess
import sys

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
from skperco.training._teacher import Teacher
from skperco.training._trainer import Settings, Trainer
from skperco.utils._chunking import RowTaker

pytestmark = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()),
    reason="needs gloo",
)

# Process r of n takes every n-th row from the r-th on, fits, and writes what it has got.
WORKER = """
import sys
import numpy as np, torch
from torch import distributed
from skperco import CoherenceDistiller
{before}
distributed.init_process_group("gloo")
rank, size = distributed.get_rank(), distributed.get_world_size()
data = np.load(sys.argv[1])
parts = [data[name][rank::size] for name in ("X", "teacher") if name in data]
distiller = CoherenceDistiller(distributed=True, **{parameters})
{fit}
weights = torch.cat([part.flatten() for part in distiller.student_.state_dict().values()])
np.savez(
    f"{{sys.argv[2]}}/{{rank}}",
    weights=weights,
    embeddings=distiller.transform(data["X"]),
    seen=distiller.n_samples_seen_,
    fraction=distiller.fraction_,
    losses=distiller.loss_curve_,
)
distributed.destroy_process_group()
"""


def together(folder, parameters, *, size=2, before="", fit="distiller.fit(*parts)", **data):
    """What each of some processes has got, which fit together by torchrun."""
    np.savez(folder / "data.npz", **data)
    (folder / "worker.py").write_text(WORKER.format(parameters=parameters, before=before, fit=fit))
    torchrun(folder, "worker.py", "data.npz", ".", size=size)
    return [np.load(folder / f"{rank}.npz") for rank in range(size)]


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


@pytest.fixture(scope="module")
def rows():
    return load_wordnet_glosses().data[:600]


@pytest.mark.parametrize(
    ("parameters", "has_teacher"),
    [
        pytest.param({"random_state": 0}, False, marks=pytest.mark.slow),
        ({"random_state": None}, False),
        ({"student": "mlp", "hidden_layer_sizes": (8,), "random_state": 0}, True),
    ],
    ids=["compression", "no seed", "transfer"],
)
def test_every_process_ends_with_the_same_student(rows, tmp_path, parameters, has_teacher):
    data = {"X": rows[:, ::2], "teacher": rows} if has_teacher else {"X": rows}
    first, second = together(tmp_path, QUICK | parameters, **data)
    for name in ("weights", "embeddings", "seen", "fraction", "losses"):
        np.testing.assert_array_equal(first[name], second[name])
    assert first["seen"] == len(rows)
    assert len(first["losses"]) in (0, 12)
    assert np.isfinite(first["weights"]).all()


@pytest.mark.slow
def test_a_group_of_one_fits_as_a_process_alone(rows, tmp_path):
    (found,) = together(tmp_path, QUICK | {"random_state": 0}, size=1, X=rows)
    # Of another number of threads, sums are rounded otherwise.
    expected = CoherenceDistiller(**QUICK, random_state=0).fit(rows).transform(rows)
    np.testing.assert_allclose(found["embeddings"], expected, atol=1e-3)


def test_modules_of_ones_own_share_what_they_count(rows, tmp_path):
    before = """
class Module(torch.nn.Sequential):
    def __init__(self):
        super().__init__(torch.nn.Linear(384, 4), torch.nn.BatchNorm1d(4))
"""
    fit = "distiller.set_params(student=Module()).fit(parts[0], parts[0])"
    parameters = QUICK | {"random_state": 0}
    first, second = together(tmp_path, parameters, before=before, fit=fit, X=rows)
    np.testing.assert_array_equal(first["weights"], second["weights"])


def test_rows_of_one_process_only_are_learned_by_all(rows, tmp_path):
    """What the second process has lies in directions of which the first knows nothing."""
    X = np.zeros((400, 8), dtype=np.float32)
    rng = np.random.default_rng(0)
    X[::2, :4], X[1::2, 4:] = rng.normal(size=(2, 200, 4))
    first, second = together(tmp_path, QUICK | {"n_components": 8, "random_state": 0}, X=X)
    np.testing.assert_array_equal(first["weights"], second["weights"])
    assert np.linalg.matrix_rank(first["embeddings"], tol=1e-3) == 8


TALK = """
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
module.weight.data = module.weight.data.T.contiguous().T  # not as broadcasts like it
torch.nn.init.constant_(module.weight, rank)
processes.broadcast_module(module)
assert (module.weight == 0).all()
samples = Samples(np.full((9, 2), rank), np.ones(9), None, "cosine")
pooled, n_samples = processes.gather_samples(samples, 6, np.random.RandomState(0))
assert pooled.X[:, 0].tolist() == [0] * 3 + [1] * 3 and n_samples == 18
distributed.destroy_process_group()
"""


def test_what_processes_tell_each_other(tmp_path):
    (tmp_path / "talk.py").write_text(TALK)
    torchrun(tmp_path, "talk.py")


def test_anchors_are_compared_with_the_references_of_all_processes(rows):
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


def test_processes_draw_other_numbers_but_the_first_its_own():
    alone, second = Processes(), Processes()
    second.size, second.rank = 2, 1
    generator = torch.Generator().manual_seed(3)
    assert alone.rank_generator(generator) is generator
    draws = [torch.rand(4, generator=one) for one in (generator, second.rank_generator(generator))]
    assert not torch.equal(*draws)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_the_pool_is_a_bounded_sample_of_all(monkeypatch, kind):
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


def test_a_group_that_nobody_has_made(rows, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="init_process_group"):
        small(distributed=True).fit(rows)
    small().fit(rows)


@pytest.fixture
def one_of_two(monkeypatch):
    """As if there was another process, which never answers."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    monkeypatch.setattr(torch.distributed, "broadcast_object_list", lambda values: None)


def test_a_stream_belongs_to_one_process(rows, one_of_two):
    with pytest.raises(ValueError, match="a stream belongs to one process"):
        small(distributed=True).partial_fit(rows)


def test_a_table_belongs_to_one_process(rows, one_of_two):
    distiller = small(distributed=True, teacher_metric="precomputed")
    with pytest.raises(
        ValueError, match="distributed=True does not support teacher_metric='precomputed'"
    ):
        distiller.fit(rows, np.zeros((len(rows), len(rows))))


@pytest.mark.slow
def test_two_processes_are_as_good_as_one_of_as_many_references(tmp_path):
    rows = load_wordnet_glosses().data
    learned, judged = rows[:4000], rows[4000:]
    scores = {1: [], 2: []}
    for seed in range(3):
        for size in scores:
            folder = tmp_path / f"{seed} {size}"
            folder.mkdir()
            parameters = {
                "n_components": 16,
                "n_references": 512 // size,
                "batch_size": 2048 // size,
                "random_state": seed,
            }
            fit = "distiller.fit(*parts); data = {'X': np.load('judged.npy')}"
            np.save(folder / "judged.npy", judged)
            found = together(folder, parameters, size=size, fit=fit, X=learned)
            embeddings = found[0]["embeddings"]
            scores[size].append(
                [
                    perception_coherence_score(judged, embeddings),
                    neighbor_recall_score(judged, embeddings),
                ]
            )
    one, two = (np.array(scores[size]) for size in (1, 2))
    noise = np.hypot(one.std(axis=0, ddof=1), two.std(axis=0, ddof=1))
    assert (np.abs(one.mean(axis=0) - two.mean(axis=0)) < 2 * noise + 1e-3).all()
