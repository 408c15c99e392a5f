"""Margins of the distiller's defaults over the best closed form with as many dimensions.

    python benchmarks/everywhere.py

The settings are text, images and tabular data, compression and transfer, several metrics and
numbers of dimensions. Each row of the output has the scores of the defaults and their differences
from the best of PCA, TruncatedSVD and reduced-rank ridge regression. The best is taken for each
score separately, and the ridge strength is the best on the test rows: this favors the closed
forms.
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
            scores, best = _scores(case, n_components)
            cells = []
            for name_of_score in lowest:
                margin = scores[name_of_score] - best[name_of_score]
                lowest[name_of_score] = min(lowest[name_of_score], margin)
                cells.append(f"{scores[name_of_score]:.4f} | {margin:+.4f}")
            print(f"| {name} | {metric} | {n_components} | {' | '.join(cells)} |", flush=True)
    margins = ", ".join(f"{score} {margin:+.4f}" for score, margin in lowest.items())
    print(f"\nLowest margins over the best closed form: {margins}.")


def _scores(case, n_components):
    """Scores of the defaults, and the best scores of all closed forms."""
    task = Task(case.fit, case.compression, case.metric, n_components, seed=0, steps=_STEPS)
    closed_forms = [evaluate(case, fit(task)) for fit in _closed_forms(case.compression)]
    scores = evaluate(case, METHODS[DEFAULT].fit(task))
    return scores, {name: max(one[name] for one in closed_forms) for name in scores}


def _closed_forms(compression):
    if compression:
        return [METHODS[name].fit for name in _COMPRESSIONS]
    return [partial(reduced_ridge, alphas=[one]) for one in _RIDGE_STRENGTHS]


def _unlabeled(case):
    """The case without its labels, which are not used here."""
    return case._replace(fit=case.fit._replace(labels=None))


if __name__ == "__main__":
    main()
