"""Mean coherence over the anchors, and what it is without each of the samples."""

from typing import NamedTuple

import numpy as np
import torch

from skperco.metrics._anchor_blocks import with_own
from skperco.metrics._concordance import concordant_share, pair_counts

# The first try to meet a tolerance draws so many.
_FIRST_ANCHORS = 500
_FIRST_REFERENCES = 1000
# Aim below a tolerance: the standard error of the next, larger draw is itself uncertain.
_MARGIN = 1.2


class Estimates(NamedTuple):
    """Coherence of students with one teacher.

    Attributes
    ----------
    scores : ndarray of shape (n_students,)
        nan if the teacher sees only ties.
    left_out : ndarray of shape (n_students, n_drawn)
        The same without each of the samples that were drawn as anchors or references.
    """

    scores: np.ndarray
    left_out: np.ndarray

    @property
    def degrees_of_freedom(self):
        """Number of samples drawn, less one."""
        return self.left_out.shape[1] - 1

    def standard_error(self, contrast):
        """Standard error of a weighted sum of the scores.

        Parameters
        ----------
        contrast : array-like of shape (n_students,)

        Returns
        -------
        standard_error : float
        """
        values = np.asarray(contrast) @ self.left_out
        values = values[~np.isnan(values)]
        n = len(values)
        if n < 2:
            return np.nan
        return float(np.sqrt((n - 1) / n * np.square(values - values.mean()).sum()))


def estimate(views, anchors, references, n_jobs=None):
    """Coherence of the second and later views with the first, with and without each sample.

    Parameters
    ----------
    views : Views
    anchors, references : ndarray of int
    n_jobs : int, default=None

    Returns
    -------
    estimates : Estimates

    Notes
    -----
    The delete-one jackknife [1]_. Leaving out a sample removes it both as an anchor and as a
    reference of all other anchors; both contributions are accumulated in one pass.

    References
    ----------
    .. [1] B. Efron, C. Stein, "The jackknife estimate of variance", Annals of Statistics 9
       (1981), 586-596.
    """

    def count(block):
        weights = torch.from_numpy(views.weights[anchors[block.positions]]).to(views.device)
        teacher, *students = block.dissimilarities
        teacher_rtol, *rtols = views.rtols
        counts = pair_counts(
            teacher,
            students,
            weights=block.weights,
            teacher_rtol=teacher_rtol,
            student_rtols=rtols,
        )
        return block.positions, [_block_sums(one, block, weights) for one in counts]

    results = views.look(count, anchors, references, n_jobs)
    places = np.concatenate([places for places, _ in results])
    estimates = []
    for student in zip(*(sums for _, sums in results), strict=True):
        coherences = np.empty(len(anchors))
        coherences[places] = np.concatenate([block.coherences for block in student])
        estimates.append(_combine(views, anchors, references, coherences, student))
    scores, left_out = zip(*estimates, strict=True)
    return Estimates(np.array(scores), np.array(left_out))


def estimate_within(views, tol, contrast, rng, n_jobs=None):
    """Draw anchors and references until the standard error is within a tolerance.

    Parameters
    ----------
    views : Views
    tol : float
        Largest standard error, unless all samples have been drawn.
    contrast : array-like of shape (n_students,)
        Which weighted sum of the scores is to be that sure.
    rng : RandomState
    n_jobs : int, default=None

    Returns
    -------
    estimates : Estimates
    """
    n = views.n_samples
    anchors, references = rng.permutation(n), rng.permutation(n)
    sizes = np.array([_FIRST_ANCHORS, _FIRST_REFERENCES])
    while True:
        sizes = np.minimum(sizes, n)
        estimates = estimate(views, anchors[: sizes[0]], references[: sizes[1]], n_jobs)
        error = estimates.standard_error(contrast)
        if not error > tol or (sizes == n).all():
            return estimates
        sizes = np.ceil(sizes * _MARGIN * (error / tol) ** 2).clip(max=n).astype(int)


class _BlockSums(NamedTuple):
    coherences: np.ndarray
    # For each reference, summed over the other anchors: weighted coherences without it, and the
    # weights of the anchors that still have a strict pair.
    total: np.ndarray
    weight: np.ndarray


def _block_sums(counts, block, anchor_weights):
    agreeing, strict = counts
    if block.weights is not None:
        agreeing, strict = agreeing * block.weights, strict * block.weights
    # Every pair has been counted from both of its ends.
    all_agreeing, all_strict = (part.sum(1, keepdim=True) / 2 for part in (agreeing, strict))
    # What is left of a difference of sums may be nothing but their rounding errors.
    least = 1e-9 * all_strict
    without = concordant_share(all_agreeing - agreeing, all_strict - strict, least)
    sees = ~without.isnan()
    total = anchor_weights[:, None] * without.nan_to_num()
    weight = anchor_weights[:, None] * sees
    if block.own[0] >= 0:
        total, weight = with_own(total, block.own), with_own(weight, block.own)
    coherences = concordant_share(all_agreeing, all_strict)
    return _BlockSums(
        *(part.cpu().numpy() for part in (coherences[:, 0], total.sum(0), weight.sum(0)))
    )


def _combine(views, anchors, references, coherences, blocks):
    """The score, and the score without each sample that is an anchor or a reference."""
    seeing = ~np.isnan(coherences)
    weights = np.where(seeing, views.weights[anchors], 0)
    values = np.where(seeing, coherences, 0)
    totals = np.full(views.n_samples, weights @ values)
    masses = np.full(views.n_samples, weights.sum())
    totals[anchors] -= weights * values
    masses[anchors] -= weights
    # What is left without a reference holds for its anchor, too.
    totals[references] = sum(block.total for block in blocks)
    masses[references] = sum(block.weight for block in blocks)
    drawn = np.union1d(anchors, references)
    score, left_out = weights @ values, totals[drawn]
    total, left = weights.sum(), masses[drawn]
    # Of what has been taken away entirely, rounding errors are left.
    left_out = np.where(left > 1e-9 * total, left_out / np.maximum(left, 1e-300), np.nan)
    return score / total if total > 0 else np.nan, left_out
