"""Is the default anywhere worse than the best closed form of as many dimensions?

    python benchmarks/everywhere.py

Text, images and a table; their own embeddings and another input; several metrics and numbers of
dimensions. For every setting: the default's figures, and by how much they differ from those of
the best of PCA, TruncatedSVD, and the leading directions of ridge regressions, each figure from
whichever of them is best at it. The strength of the ridge is the best for the rows that judge:
nobody who has to choose it beforehand chooses better.
"""

import sys
from functools import partial

from rivals.cases import load_case
from rivals.evaluation import COHERENCE, RECALL, evaluate
from rivals.methods import DEFAULT, METHODS, Task, reduced_ridge

from skperco import CoherenceDistiller

_COMPRESSIONS = ("pca", "svd")
_RIDGE_STRENGTHS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
_SETTINGS = {
    ("glosses", "cosine"): (8, 16, 32, 64, 128),
    ("glosses", "euclidean"): (16, 64),
    ("glosses", "manhattan"): (32,),
    ("glosses-hidden", "cosine"): (16, 64),
    ("digits", "euclidean"): (4, 8, 16, 32),
    ("digits", "cosine"): (8, 16),
    ("digits", "manhattan"): (8,),
    ("tumors", "euclidean"): (2, 5, 10),
    ("tumors", "cosine"): (5,),
    ("glosses-tfidf", "cosine"): (16, 32, 64),
    ("glosses-tfidf", "euclidean"): (32,),
    ("glosses-words", "cosine"): (16, 64),
}
_STEPS = CoherenceDistiller().max_iter


def main():
    print("| data | metric | dimensions | coherence | | recall@10 | |")
    print("|---|---|---:|---:|---:|---:|---:|")
    lowest = dict.fromkeys((COHERENCE, RECALL), float("inf"))
    for (name, metric), dimensions in _SETTINGS.items():
        case = _unlabeled(load_case(name))._replace(metric=metric)
        for n_components in dimensions:
            print(f"{name} {metric} {n_components}", file=sys.stderr, flush=True)
            ours, theirs = _figures(case, n_components)
            cells = []
            for figure in lowest:
                margin = ours[figure] - theirs[figure]
                lowest[figure] = min(lowest[figure], margin)
                cells.append(f"{ours[figure]:.4f} | {margin:+.4f}")
            print(f"| {name} | {metric} | {n_components} | {' | '.join(cells)} |", flush=True)
    shown = ", ".join(f"{figure} {margin:+.4f}" for figure, margin in lowest.items())
    print(f"\nLowest margins over the best closed form: {shown}.")


def _figures(case, n_components):
    """The default's figures, and the best that any closed form has."""
    task = Task(case.fit, case.compression, case.metric, n_components, seed=0, steps=_STEPS)
    theirs = [evaluate(case, fit(task)) for fit in _closed_forms(case.compression)]
    ours = evaluate(case, METHODS[DEFAULT].fit(task))
    return ours, {name: max(one[name] for one in theirs) for name in ours}


def _closed_forms(compression):
    if compression:
        return [METHODS[name].fit for name in _COMPRESSIONS]
    return [partial(reduced_ridge, alphas=[one]) for one in _RIDGE_STRENGTHS]


def _unlabeled(case):
    """The case without the labels, which nothing here looks at."""
    return case._replace(fit=case.fit._replace(labels=None))


if __name__ == "__main__":
    main()
