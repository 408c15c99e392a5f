"""Coverage of confidence intervals, and type I error of paired tests.

    python benchmarks/interval_coverage.py
    python benchmarks/interval_coverage.py --samples 100 --sizes 100 400

Many samples of several sizes are drawn from three populations. The table has the fraction of 95%
intervals that contain the coherence of the population, and the fraction of paired tests at the 5%
level that reject although both students are equally coherent. With 1,000 samples, the standard
error of a fraction of 0.95 is 0.007.
"""

import argparse
from functools import partial

import numpy as np
from joblib import Parallel, delayed

from skperco import perception_coherence_interval, perception_coherence_test

_TRIPLES = 40_000_000
_TRIPLES_PER_CHUNK = 200_000


def gaussian(n, rng):
    """A teacher of eight dimensions; a student is four of them with independent noise."""
    teacher = rng.normal(size=(n, 8)) * np.linspace(1.5, 0.5, 8)
    return teacher, *(teacher[:, :4] + rng.normal(size=(n, 4)) / 2 for _ in range(2))


def clusters(n, rng):
    """Clusters of unequal size with heavy tails."""
    centers = np.random.default_rng(0).normal(size=(5, 6)) * 3
    labels = rng.choice(5, size=n, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    teacher = centers[labels] + rng.standard_t(3, size=(n, 6))
    return teacher, *(teacher[:, :3] + rng.standard_t(3, size=(n, 3)) for _ in range(2))


def grid(n, rng):
    """Integers with many ties: a teacher on a grid of 16 points, students on a line."""
    teacher = rng.choice(4, size=(n, 2), p=[0.1, 0.2, 0.3, 0.4])
    return teacher, *(teacher[:, :1] + rng.integers(-1, 2, size=(n, 1)) for _ in range(2))


POPULATIONS = {
    "gaussian": (gaussian, "euclidean"),
    "clusters": (clusters, "cosine"),
    "grid": (grid, "euclidean"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 400, 2000])
    parser.add_argument("--jobs", type=int, default=-1)
    options = parser.parse_args()
    print("| population | coherence | samples of | 95% intervals cover | 5% tests reject |")
    print("|---|---:|---:|---:|---:|")
    for name, (draw, metric) in POPULATIONS.items():
        truth = true_coherence(name)
        for n in options.sizes:
            covered, rejected = fractions(draw, metric, truth, n, options.samples, options.jobs)
            print(f"| {name} | {truth:.4f} | {n} | {covered:.1%} | {rejected:.1%} |", flush=True)


def fractions(draw, metric, truth, n, n_samples, n_jobs):
    """Fractions of samples whose interval contains the truth, and whose test is significant."""
    check = delayed(partial(_check, draw, metric, truth, n))
    results = Parallel(n_jobs=n_jobs)(check(seed) for seed in range(n_samples))
    return np.mean(results, axis=0)


def _check(draw, metric, truth, n, seed):
    teacher, student, other = draw(n, np.random.default_rng([n, seed]))
    interval = perception_coherence_interval(teacher, student, metric=metric)
    test = perception_coherence_test(teacher, student, other, metric=metric)
    return interval.low <= truth <= interval.high, test.pvalue < 0.05


def true_coherence(name):
    """Coherence of a population: exact for the grid, else estimated from 40 million triples."""
    if name == "grid":
        return _grid_coherence()
    draw, metric = POPULATIONS[name]
    rng = np.random.default_rng(1)
    agreeing = [
        _agreeing_fraction(draw, metric, _TRIPLES_PER_CHUNK, rng)
        for _ in range(_TRIPLES // _TRIPLES_PER_CHUNK)
    ]
    return np.mean(agreeing)


def _agreeing_fraction(draw, metric, n, rng):
    """Fraction of n independent triples whose order the student preserves."""
    triples = [draw(n, rng)[:2] for _ in range(3)]
    differences = []
    for anchor, first, second in zip(*triples, strict=True):
        differences.append(_distances(anchor, first, metric) - _distances(anchor, second, metric))
    return np.mean(differences[0] * differences[1] > 0)


def _distances(first, second, metric):
    if metric == "cosine":
        first, second = (rows / np.linalg.norm(rows, axis=1)[:, None] for rows in (first, second))
    return np.square(first - second).sum(1)


def _grid_coherence():
    """Exact coherence: the sum over all triples of points, weighted by their probabilities."""
    points = np.array([(x, y, noise) for x in range(4) for y in range(4) for noise in (-1, 0, 1)])
    probabilities = np.array([0.1, 0.2, 0.3, 0.4])
    weights = probabilities[points[:, 0]] * probabilities[points[:, 1]] / 3
    pairs = weights[:, None] * weights
    total = 0
    for point, weight in zip(points, weights, strict=True):
        teacher = np.square(points[:, :2] - point[:2]).sum(1)
        student = np.abs(points[:, 0] + points[:, 2] - point[0] - point[2])
        strict = pairs * (teacher[:, None] < teacher)
        agreeing = (student[:, None] < student) + (student[:, None] == student) / 2
        total += weight * (strict * agreeing).sum() / strict.sum()
    return total


if __name__ == "__main__":
    main()
