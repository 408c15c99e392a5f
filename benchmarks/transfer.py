"""Losses that transfer a teacher to a lightweight model, each on students of three sizes.

    python benchmarks/transfer.py
    python benchmarks/transfer.py --contests digits-2 glosses-500 --seeds 1

Every loss has the same student, the same start, the same batches and the same number of steps, and
the best of six learning rates on rows that are held out of the fit; then it is fitted to all, once
for each seed. A regression goes through a projector to the teacher's dimensions, with the better
of two starts. No loss sees a label. Images are read by convolutional networks, and text by sums of
embeddings of hashed pieces of words, which start at random; and these once more from the ridge
regression, as the distiller would.
"""

import argparse
import sys
import time
from functools import partial
from pathlib import Path

import torch
from joblib import Parallel, delayed
from rivals import losses
from rivals.contests import CONTESTS, run
from rivals.judging import COHERENCE, KNN_ACCURACY, RECALL
from rivals.methods import relation
from rivals.report import Panel, markdown
from rivals.transfer_report import draw

import skperco

# Of a batch; see PerceptionCoherenceLoss.
_NEIGHBORS = 0.1
_FIGURES = (COHERENCE, RECALL, KNN_ACCURACY)


def main():
    options = _parse()
    started = time.perf_counter()
    pairs = [(contest, loss) for contest in options.contests for loss in options.losses]
    found = Parallel(options.n_jobs)(delayed(_run)(*pair, options.seeds) for pair in pairs)
    panels = {}
    for (_, loss), (kind, size, figures) in zip(pairs, found, strict=True):
        panel = panels.setdefault((kind, size), Panel(f"{kind}, {size:,} parameters", {}))
        panel.figures[loss] = figures
    options.output.mkdir(parents=True, exist_ok=True)
    heading = (
        f"skperco {skperco.__version__}, {options.seeds} seeds (mean ± standard deviation), "
        f"{(time.perf_counter() - started) / 60:.1f} minutes."
    )
    tables = [markdown(panel, "loss", _FIGURES) for panel in panels.values()]
    text = "\n\n".join([heading, *tables]) + "\n"
    (options.output / "transfer.md").write_text(text, encoding="utf-8")
    draw(panels, (COHERENCE, RECALL), options.output / "transfer.png")
    print(text)


def _parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--contests", nargs="+", choices=CONTESTS, default=list(CONTESTS))
    add("--losses", nargs="+", choices=LOSSES, default=list(LOSSES))
    add("--seeds", type=int, default=5, help="how many")
    add("--n-jobs", type=int, default=-1, help="processes")
    add("--output", type=Path, default=Path("build/transfer"), help="folder for what is written")
    return parser.parse_args()


def _run(contest, loss, n_seeds):
    torch.set_num_threads(1)
    contest = CONTESTS[contest]()
    kind = contest.case.name
    size, figures = run(contest, LOSSES[loss], n_seeds)
    shown = "  ".join(f"{name} {figures[0][name]:.3f}" for name in _FIGURES)
    print(f"{kind} {size:9,}  {loss:24} {shown}", file=sys.stderr, flush=True)
    return kind, size, figures


def _regressions(error):
    """With either start of the projector."""
    return [partial(losses.Regression, error, fitted=fitted) for fitted in (True, False)]


def _of_relations(loss):
    return [partial(relation, loss, "cosine")]


def _coherence(_student, _teacher):
    return skperco.PerceptionCoherenceLoss()


def _near_coherence(_student, _teacher):
    def loss(student, teacher):
        n_neighbors = round(_NEIGHBORS * len(student))
        return skperco.PerceptionCoherenceLoss(n_neighbors=n_neighbors)(student, teacher)

    return loss


LOSSES = {
    "MSE regression": _regressions(losses.squared_error),
    "cosine regression": _regressions(losses.cosine_error),
    "RKD": _of_relations(losses.rkd),
    "PKT": _of_relations(losses.pkt),
    "SP": _of_relations(losses.similarity_preserving),
    "contrast": [losses.Contrast],
    "coherence": [_near_coherence],
    "coherence, ranks alone": [_coherence],
}


if __name__ == "__main__":
    main()
