"""Two processes that fit one student together, beside one process with as many references.

    python benchmarks/processes.py

On the shipped glosses: 16 dimensions, 4,000 rows fitted and 1,000 judged. A line for each seed,
then the means and the standard deviations over seeds.
"""

import argparse
import subprocess
import sys

import numpy as np
from torch import distributed

from skperco import CoherenceDistiller, neighbor_recall_score, perception_coherence_score
from skperco.datasets import load_wordnet_glosses

_SEEDS = range(3)
_SIZES = (1, 2)
_FITTED = 4000
_REFERENCES = 512
_ANCHORS = 2048


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--worker", type=int, help="what torchrun calls: the seed")
    seed = parser.parse_args().worker
    if seed is None:
        _compare()
    else:
        _work(seed)


def _compare():
    scores = {size: np.array([_run(size, seed) for seed in _SEEDS]) for size in _SIZES}
    for size, found in scores.items():
        mean, spread = found.mean(axis=0), found.std(axis=0, ddof=1)
        figures = " and ".join(
            f"{name} {mean[at]:.4f} ± {spread[at]:.4f}"
            for at, name in enumerate(("coherence", "recall@10"))
        )
        print(f"{size} x {_REFERENCES // size} references: {figures}")


def _run(size, seed):
    """Coherence and recall of one fit."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={size}", __file__, "--worker", str(seed)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    print(f"{size} processes, seed {seed}: {done.stdout.strip()}", flush=True)
    return [float(word) for word in done.stdout.split()]


def _work(seed):
    distributed.init_process_group("gloo")
    rank, size = distributed.get_rank(), distributed.get_world_size()
    rows = load_wordnet_glosses().data
    distiller = CoherenceDistiller(
        16,
        n_references=_REFERENCES // size,
        batch_size=_ANCHORS // size,
        distributed=True,
        random_state=seed,
    ).fit(rows[:_FITTED][rank::size])
    if rank == 0:
        judged = rows[_FITTED:]
        student = distiller.transform(judged)
        print(perception_coherence_score(judged, student), neighbor_recall_score(judged, student))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
