"""Slow, simple implementations of what the package computes fast."""

import pickle
from fractions import Fraction
from itertools import permutations

import numpy as np
import torch
from sklearn.linear_model import Ridge
from sklearn.utils import check_random_state


def soft_percentile_rank(dissimilarities, sigma, weights=None):
    """Soft percentile ranks from all pairs of references."""
    kernel = (dissimilarities[:, :, None] - dissimilarities[:, None, :]) / sigma[:, :, None]
    shares = (0.5 + kernel / 2).clamp(0, 1)
    if weights is None:
        return shares.mean(2)
    weights = weights.expand(dissimilarities.shape)
    return (shares * weights[:, None, :]).sum(2) / weights.sum(1, keepdim=True)


def percentile_rank(row, weights=None):
    """Mid-rank divided by the count, entry by entry."""
    row = np.asarray(row)
    weights = np.ones(len(row)) if weights is None else np.asarray(weights)
    shares = [weights[row < value].sum() + weights[row == value].sum() / 2 for value in row]
    return np.array(shares) / weights.sum()


def concordance(teacher, student, weights=None):
    """Concordance by its definition, pair by pair."""
    n = len(teacher)
    weights = np.ones(n) if weights is None else np.asarray(weights, dtype=float)
    kept = strict = 0.0
    for j in range(n):
        for k in range(n):
            if teacher[j] < teacher[k]:
                strict += weights[j] * weights[k]
                agreement = (student[j] < student[k]) + (student[j] == student[k]) / 2
                kept += weights[j] * weights[k] * agreement
    return kept / strict if strict else np.nan


def pair_counts(teacher, student, weights):
    """Total weight of the concordant and of the untied partners of each reference."""
    agreeing, strict = np.zeros(len(teacher)), np.zeros(len(teacher))
    for j in range(len(teacher)):
        for k in range(len(teacher)):
            if teacher[j] == teacher[k]:
                continue
            strict[j] += weights[k]
            if student[j] == student[k]:
                agreeing[j] += weights[k] / 2
            elif (teacher[j] < teacher[k]) == (student[j] < student[k]):
                agreeing[j] += weights[k]
    return agreeing, strict


def perception_coherence(teacher_table, student_table, weights=None):
    """Perception coherence by its definition, from two dissimilarity matrices."""
    n = len(teacher_table)
    weights = np.ones(n) if weights is None else np.asarray(weights, dtype=float)
    scores, anchor_weights = [], []
    for anchor in range(n):
        others = np.arange(n) != anchor
        score = concordance(
            teacher_table[anchor][others], student_table[anchor][others], weights[others]
        )
        if not np.isnan(score):
            scores.append(score)
            anchor_weights.append(weights[anchor])
    return np.average(scores, weights=anchor_weights) if scores else np.nan


def neighbor_recall(teacher_table, student_table, k):
    """Overlap of the k nearest neighbors, without ties."""
    n = len(teacher_table)
    shares = []
    for anchor in range(n):
        others = np.flatnonzero(np.arange(n) != anchor)
        nearest = [
            set(others[np.argsort(table[anchor][others])[:k]])
            for table in (teacher_table, student_table)
        ]
        shares.append(len(nearest[0] & nearest[1]) / k)
    return np.mean(shares)


def table(rows, metric):
    """Dissimilarity matrix in float64, from the differences of all pairs."""
    rows = torch.as_tensor(np.asarray(rows), dtype=torch.float64)
    if metric == "correlation":
        rows = rows - rows.mean(1, keepdim=True)
    if metric in ("cosine", "correlation"):
        rows = rows / rows.norm(dim=1, keepdim=True)
    differences = rows[:, None, :] - rows[None, :, :]
    if metric == "manhattan":
        return differences.abs().sum(2).numpy()
    squared = differences.square().sum(2).numpy()
    return {
        "cosine": squared / 2,
        "correlation": squared / 2,
        "sqeuclidean": squared,
        "euclidean": np.sqrt(squared),
    }[metric]


def global_random_states():
    """Serialized states of the global random generators of torch and NumPy."""
    return pickle.dumps((torch.get_rng_state().numpy(), check_random_state(None).get_state()))


def ridge_predictions(X, targets, alpha, intercept, weights):
    """Predictions of ridge regression on X and a constant column, scaled as in `Ridge`."""
    scale = np.sqrt(np.average(np.square(X).sum(1), weights=weights))
    design = np.column_stack([X, np.full(len(X), intercept * scale)])
    model = Ridge(alpha=alpha * scale**2, fit_intercept=False, solver="svd")
    return model.fit(design, targets, sample_weight=weights / weights.mean()).predict(design)


def exact_table(rows, metric):
    """Dissimilarity matrix of rows of integers, squared unless Manhattan, as integers."""
    differences = np.abs(rows[:, None] - rows[None, :])
    return (differences if metric == "manhattan" else differences**2).sum(2)


def exact_concordance(teacher, student, weights):
    """Concordance in rational arithmetic; None if the teacher ties all pairs."""
    kept = strict = Fraction(0)
    for j, k in permutations(range(len(teacher)), 2):
        if teacher[j] < teacher[k]:
            pair = weights[j] * weights[k]
            strict += pair
            kept += pair * (2 * (student[j] < student[k]) + (student[j] == student[k])) / 2
    return kept / strict if strict else None


def exact_nearest_shares(row, weights, border):
    """Fraction of each reference that belongs to the nearest `border` of the total weight."""
    shares = []
    for value in row:
        begin = sum((w for w, other in zip(weights, row, strict=True) if other < value), Fraction())
        tied = sum((w for w, other in zip(weights, row, strict=True) if other == value), Fraction())
        shares.append(min(max((border - begin) / tied, Fraction(0)), Fraction(1)))
    return shares


def exact_samples(teacher, student, weights, percentile=1):
    """Coherence at each anchor among its nearest references, in rational arithmetic."""
    alike = len(set(weights)) == 1
    samples = []
    for anchor in range(len(teacher)):
        others = [other for other in range(len(teacher)) if other != anchor]
        near, far = teacher[anchor][others], student[anchor][others]
        mass = [Fraction(1) if alike else weights[other] for other in others]
        border = Fraction(str(percentile)) * sum(mass)
        if alike:
            border = Fraction(max(2, round(percentile * len(others))))
        shares = exact_nearest_shares(near, mass, border)
        inside = [w * share for w, share in zip(mass, shares, strict=True)]
        samples.append(exact_concordance(near, far, inside))
    return samples


def exact_mean(samples, weights):
    """Weighted mean of the defined samples; nan if there are none."""
    pairs = [(s, w) for s, w in zip(samples, weights, strict=True) if s is not None]
    total = sum(w for _, w in pairs)
    return float(sum(s * w for s, w in pairs) / total) if pairs else np.nan


def exact_recall(teacher, student, weights, k):
    """Overlap of the k nearest neighbors; ties at the k-th share its weight."""
    overlaps = []
    for anchor in range(len(teacher)):
        others = [other for other in range(len(teacher)) if other != anchor]
        one = [Fraction(1)] * len(others)
        shares = [
            exact_nearest_shares(table[anchor][others], one, Fraction(k))
            for table in (teacher, student)
        ]
        overlaps.append(sum(map(min, *shares)) / k)
    return exact_mean(overlaps, weights)
