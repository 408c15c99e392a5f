"""Compare methods by how well they preserve rankings in few dimensions: a table and a plot.

    python benchmarks/fidelity.py                             # the shipped glosses
    python benchmarks/fidelity.py --data digits glosses-tfidf
    python benchmarks/fidelity.py --teacher T.npy --input X.npy --labels y.npy --fit-rows 10000

Every method is fitted to the same rows and evaluated on the same other rows. The other losses
have the distiller's student, initialization and number of steps, and compare all pairs of rows of a
batch, which has as many rows as the distiller draws references. Held-out rows choose the best of
three learning rates for each loss, which is then fitted to all rows; its seconds include that
choice. Results without ± are deterministic.
"""

import argparse
import importlib.util
import sys
import time
from functools import partial
from pathlib import Path

from rivals.cases import CASES, case_from_files, load_case
from rivals.evaluation import SECONDS, evaluate
from rivals.methods import METHODS, Task
from rivals.report import Panel, draw, table

import skperco


def main(arguments=None):
    options = _parse(arguments)
    cases = _cases(options)
    started = time.perf_counter()
    panels = [
        _compare(case, n_components, options)
        for case in cases
        for n_components in options.dims
        if _is_smaller(case, n_components)
    ]
    options.output.mkdir(parents=True, exist_ok=True)
    seconds = time.perf_counter() - started
    text = "\n\n".join([_heading(options, seconds), *map(table, panels)]) + "\n"
    (options.output / "fidelity.md").write_text(text, encoding="utf-8")
    draw(panels, options.output / "fidelity.png")
    print(text)
    _log(f"written to {options.output}/fidelity.md and fidelity.png")


def _parse(arguments):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", nargs="+", choices=CASES, default=["glosses"], help="cases that need no files")
    add("--teacher", type=Path, help=".npy of the teacher's embeddings, in place of --data")
    add("--input", type=Path, help=".npy of the student's input, if not the teacher's")
    add("--labels", type=Path, help=".npy of labels, for the accuracies")
    add("--fit-rows", type=int, help="number of training rows, the first; the others are test rows")
    add("--metric", choices=["cosine", "euclidean"], default="cosine", help="for the files")
    add("--dims", nargs="+", type=int, default=[16, 64])
    add("--seeds", type=int, default=3, help="number of seeds")
    add("--steps", type=int, default=skperco.CoherenceDistiller().max_iter)
    add("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    add("--output", type=Path, default=Path("build/fidelity"), help="folder of the results")
    options = parser.parse_args(arguments)
    if options.teacher and options.fit_rows is None:
        parser.error("--teacher needs --fit-rows")
    return options


def _cases(options):
    if not options.teacher:
        return [load_case(name) for name in options.data]
    files = options.teacher, options.input, options.labels
    return [case_from_files(*files, n_fit=options.fit_rows, metric=options.metric)]


def _is_smaller(case, n_components):
    smaller = n_components < case.fit.teacher.shape[1]
    if not smaller:
        _log(f"{case.name} has no more than {n_components} dimensions: skipped")
    return smaller


def _compare(case, n_components, options):
    """Scores of all methods on one case at one number of dimensions."""
    scores = {}
    for name in options.methods:
        method = METHODS[name]
        if not method.suits(case.compression):
            continue
        if name == "umap" and importlib.util.find_spec("umap") is None:
            _log("UMAP is skipped: it needs the package umap-learn (pip install '.[umap]')")
            continue
        seeds = range(options.seeds if method.seeded else 1)
        task = partial(Task, case.fit, case.compression, case.metric, n_components)
        scores[name] = [_run(method, task(seed, options.steps), case) for seed in seeds]
    return Panel(f"{case.name}, {case.fit.teacher.shape[1]} → {n_components}", scores)


def _run(method, task, case):
    started = time.perf_counter()
    embed = method.fit(task)
    seconds = time.perf_counter() - started
    scores = evaluate(case, embed) | {SECONDS: seconds}
    shown = "  ".join(f"{name} {value:.3f}" for name, value in list(scores.items())[:3])
    _log(f"{case.name} {task.n_components:4d}  seed {task.seed}  {method.title:34s} {shown}")
    return scores


def _heading(options, seconds):
    return (
        f"skperco {skperco.__version__}, {options.steps} steps, {options.seeds} seeds "
        f"(mean ± standard deviation), {seconds / 60:.1f} minutes."
    )


def _log(line):
    """Print progress to stderr; the table goes to stdout."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
