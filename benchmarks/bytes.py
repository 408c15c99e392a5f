"""Compare codes of embeddings at equal bytes: what the codes of each library keep.

    python benchmarks/bytes.py                                    # glosses and digits
    python benchmarks/bytes.py --embeddings E.npy --fit-rows 10000

It needs FAISS; turbovec, rabitqlib, remex and sentence-transformers are compared if they are
installed. All are fitted to the first rows and judged on the others, of which 1,000 are queries.
"coherence" and "recall@10" have exact queries and coded rows; "coded" has codes on both sides.
"reranked" is the recall after the distances of the 50 nearest coded rows are computed again from
whole vectors. The bytes of a row include norms and factors. The settings of the other methods, such
as bits and dimensions, are those with the best scores on the judged rows, which favors them:
skperco chooses its settings on rows of the fit. The bound is that of rate-distortion theory for
Gaussian rows.
"""

import argparse
import sys
import time
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from rivals.bytes_report import draw, table, write_grids
from rivals.cases import case_from_files, load_case
from rivals.code_evaluation import BYTES, COHERENCE, RECALL, GaussianBound, Judge
from rivals.codes import METHODS
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits

import skperco

_CASES = ("glosses", "digits")
_BUDGETS = (8, 16, 32, 48, 64, 96, 128, 192, 256, 384)
_BOUND = "bound for Gaussian rows"
# Modules without which methods are left out.
_MODULES = {
    "turbovec": "turbovec",
    "rabitqlib": "rabitqlib",
    "remex": "remex",
    "sentence-transformers": "sentence_transformers",
}


def main():
    options = _parse()
    started = time.perf_counter()
    tables, panels = [], {}
    for case in _cases(options):
        panels[case.name] = _compare(case, options)
        tables += [table(case.name, *item) for item in panels[case.name].items()]
    heading = (
        f"skperco {skperco.__version__}, {(time.perf_counter() - started) / 60:.1f} minutes. "
        "The best of each column in bold."
    )
    text = "\n\n".join([heading, *tables]) + "\n"
    options.output.mkdir(parents=True, exist_ok=True)
    for name, budgets in panels.items():
        write_grids(name, budgets, options.output)
    (options.output / "bytes.md").write_text(text, encoding="utf-8")
    draw(panels, options.output / "bytes.png")
    print(text)


def _parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--embeddings", type=Path, nargs="+", help=".npy files to use in place of shipped data")
    add("--fit-rows", type=int, default=10_000, help="rows of each file to fit")
    add("--bytes", type=int, nargs="+", default=list(_BUDGETS), help="budgets")
    add("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    add("--n-jobs", type=int, default=-1, help="number of processes")
    add("--output", type=Path, default=Path("build/bytes"), help="folder of the results")
    return parser.parse_args()


def _cases(options):
    if not options.embeddings:
        return [load_case(name) for name in _CASES]
    files = options.embeddings
    return [case_from_files(file, n_fit=options.fit_rows, metric="cosine") for file in files]


def _compare(case, options):
    """Scores of each method, or of the bound, for each budget."""
    rows = [part.X.astype(np.float32) for part in (case.fit, case.test)]
    if case.metric == "cosine":
        rows = [normalize(part) for part in rows]
    n_features = rows[0].shape[1]
    jobs = [
        (n_bytes, name, setting)
        for n_bytes in options.bytes
        if n_bytes <= 4 * n_features
        for name in options.methods
        if _is_available(name, case.metric)
        for setting in METHODS[name].settings(n_bytes, n_features)
    ]
    jobs += [(n_bytes, _BOUND, None) for n_bytes in options.bytes if n_bytes <= 4 * n_features]
    # The longest jobs first, so that no process is alone at the end.
    jobs.sort(key=lambda job: -job[0])
    judge = Judge(rows[1], case.metric)
    results = Parallel(options.n_jobs)(delayed(_run)(judge, rows[0], *job) for job in jobs)
    best = {n_bytes: {} for n_bytes in options.bytes}
    for (n_bytes, name, _), scores in zip(jobs, results, strict=True):
        if scores[BYTES] > n_bytes:
            raise RuntimeError(f"{name} takes {scores[BYTES]} bytes for a row, not {n_bytes}.")
        known = best[n_bytes].get(name)
        if known is None or _criterion(scores) > _criterion(known):
            best[n_bytes][name] = scores
    order = [*options.methods, _BOUND]
    return {
        n_bytes: {name: of_budget[name] for name in order if name in of_budget}
        for n_bytes, of_budget in best.items()
        if set(of_budget) - {_BOUND}
    }


def _is_available(name, metric):
    if METHODS[name].cosine_only and metric != "cosine":
        return False
    return name not in _MODULES or find_spec(_MODULES[name]) is not None


def _criterion(scores):
    """The mean of coherence and recall that the quantizer uses, with exact queries."""
    return np.sqrt(scores[COHERENCE] * scores[RECALL])


def _run(judge, fit, n_bytes, name, setting):
    started = time.perf_counter()
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        try:
            scores = judge.scores(_fit(fit, judge.metric, n_bytes, name, setting))
        except Exception as error:
            raise RuntimeError(f"{name} failed with {setting} in {n_bytes} bytes.") from error
    shown = f"{n_bytes:4} bytes  {name:24} {scores[COHERENCE]:.4f} {scores[RECALL]:.3f}"
    seconds = time.perf_counter() - started
    print(f"{shown} {seconds:6.1f} s  {setting}", file=sys.stderr, flush=True)
    return scores


def _fit(rows, metric, n_bytes, name, setting):
    if setting is None:
        return GaussianBound.of(rows, n_bytes)
    return METHODS[name].fit(rows, metric, *setting)


if __name__ == "__main__":
    main()
