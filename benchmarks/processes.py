"""Compare a fit by two processes with a fit by one process, with as many references in total.

    python benchmarks/processes.py

The shipped glosses are reduced to 16 dimensions, with 4,000 training rows and 1,000 test rows. The
output is a line for each fit, then means and standard deviations over the seeds.
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
    parser.add_argument("--worker", type=int, help="seed of a worker (internal, for torchrun)")
    seed = parser.parse_args().worker
    if seed is None:
        _compare()
    else:
        _work(seed)


def _compare():
    scores = {size: np.array([_run(size, seed) for seed in _SEEDS]) for size in _SIZES}
    for size, results in scores.items():
        mean, std = results.mean(axis=0), results.std(axis=0, ddof=1)
        shown = " and ".join(
            f"{name} {mean[i]:.4f} ± {std[i]:.4f}"
            for i, name in enumerate(("coherence", "recall@10"))
        )
        print(f"{size} x {_REFERENCES // size} references: {shown}")


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
        test = rows[_FITTED:]
        student = distiller.transform(test)
        print(perception_coherence_score(test, student), neighbor_recall_score(test, student))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
