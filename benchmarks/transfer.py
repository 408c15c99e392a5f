"""Compare losses of representation transfer to lightweight models, on students of three sizes.

    python benchmarks/transfer.py
    python benchmarks/transfer.py --experiments digits-2 glosses-500 --seeds 1

All losses have the same student, initialization, batches and number of steps. Held-out rows choose
the best of six learning rates, then the student is trained on all rows, once for each seed. A
regression has a projector to the teacher's dimensions, with the better of two initializations. No
loss uses labels. Students are convolutional networks for images and linear maps of hashed
character n-grams for text, with random initialization; the latter also with the distiller's
initialization, ridge regression.
"""

import argparse
import sys
import time
from functools import partial
from pathlib import Path

import torch
from joblib import Parallel, delayed
from rivals import losses
from rivals.evaluation import COHERENCE, KNN_ACCURACY, RECALL
from rivals.experiments import EXPERIMENTS, run
from rivals.methods import relation
from rivals.report import Panel, markdown
from rivals.transfer_report import draw

import skperco

# n_neighbors of PerceptionCoherenceLoss, as a fraction of the batch.
_NEIGHBOR_FRACTION = 0.1
_SCORES = (COHERENCE, RECALL, KNN_ACCURACY)


def main():
    options = _parse()
    started = time.perf_counter()
    pairs = [(experiment, loss) for experiment in options.experiments for loss in options.losses]
    results = Parallel(options.n_jobs)(delayed(_run)(*pair, options.seeds) for pair in pairs)
    panels = {}
    for (_, loss), (name, size, scores) in zip(pairs, results, strict=True):
        panel = panels.setdefault((name, size), Panel(f"{name}, {size:,} parameters", {}))
        panel.scores[loss] = scores
    options.output.mkdir(parents=True, exist_ok=True)
    heading = (
        f"skperco {skperco.__version__}, {options.seeds} seeds (mean ± standard deviation), "
        f"{(time.perf_counter() - started) / 60:.1f} minutes."
    )
    tables = [markdown(panel, "loss", _SCORES) for panel in panels.values()]
    text = "\n\n".join([heading, *tables]) + "\n"
    (options.output / "transfer.md").write_text(text, encoding="utf-8")
    draw(panels, (COHERENCE, RECALL), options.output / "transfer.png")
    print(text)


def _parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--experiments", nargs="+", choices=EXPERIMENTS, default=list(EXPERIMENTS))
    add("--losses", nargs="+", choices=LOSSES, default=list(LOSSES))
    add("--seeds", type=int, default=5, help="number of seeds")
    add("--n-jobs", type=int, default=-1, help="number of processes")
    add("--output", type=Path, default=Path("build/transfer"), help="folder of the results")
    return parser.parse_args()


def _run(experiment, loss, n_seeds):
    torch.set_num_threads(1)
    experiment = EXPERIMENTS[experiment]()
    data = experiment.case.name
    size, scores = run(experiment, LOSSES[loss], n_seeds)
    shown = "  ".join(f"{name} {scores[0][name]:.3f}" for name in _SCORES)
    print(f"{data} {size:9,}  {loss:24} {shown}", file=sys.stderr, flush=True)
    return data, size, scores


def _regressions(error):
    """With both initializations of the projector."""
    return [partial(losses.Regression, error, fitted=fitted) for fitted in (True, False)]


def _relation(loss):
    return [partial(relation, loss, "cosine")]


def _coherence(_student, _teacher):
    return skperco.PerceptionCoherenceLoss()


def _local_coherence(_student, _teacher):
    def loss(student, teacher):
        n_neighbors = round(_NEIGHBOR_FRACTION * len(student))
        return skperco.PerceptionCoherenceLoss(n_neighbors=n_neighbors)(student, teacher)

    return loss


LOSSES = {
    "MSE regression": _regressions(losses.squared_error),
    "cosine regression": _regressions(losses.cosine_error),
    "RKD": _relation(losses.rkd),
    "PKT": _relation(losses.pkt),
    "SP": _relation(losses.similarity_preserving),
    "contrastive": [losses.ContrastiveLoss],
    "coherence": [_local_coherence],
    "coherence, global": [_coherence],
}


if __name__ == "__main__":
    main()
