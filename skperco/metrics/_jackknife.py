"""Mean coherence over the anchors, and its delete-one jackknife."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from skperco.metrics._concordance import Counts, concordant_fraction, pair_counts
from skperco.metrics._representations import AnchorBlock, Representations, with_own

# Sizes of the first draw of `estimate_within`.
_FIRST_ANCHORS = 500
_FIRST_REFERENCES = 1000
# Safety factor for the sizes of the next draw, since its standard error is only an estimate.
_MARGIN = 1.2


class Estimates(NamedTuple):
    """Coherence of students with one teacher.

    Attributes
    ----------
    scores : ndarray of shape (n_students,)
        nan if the teacher has only ties.
    left_out : ndarray of shape (n_students, n_drawn)
        The scores without each of the samples that were drawn as anchors or references; nan where
        the teacher has only ties without that sample.
    """

    scores: NDArray[np.float64]
    left_out: NDArray[np.float64]

    @property
    def degrees_of_freedom(self) -> int:
        """Number of the scores without a sample that are defined, minus one."""
        return int((~np.isnan(self.left_out)).all(0).sum()) - 1

    def standard_error(self, contrast: ArrayLike) -> float:
        """Standard error of a linear combination of the scores.

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


def estimate(
    representations: Representations,
    anchors: NDArray[np.integer],
    references: NDArray[np.integer],
    n_jobs: int | None = None,
) -> Estimates:
    """Coherence of the students with the teacher, with and without each sample.

    Parameters
    ----------
    representations : Representations
        The teacher, then the students.
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

    def count(block: AnchorBlock) -> tuple[NDArray[np.integer], list[_BlockSums]]:
        weights = torch.from_numpy(representations.weights[anchors[block.positions]])
        weights = weights.to(representations.device)
        teacher, *students = block.dissimilarities
        teacher_rtol, *rtols = representations.rtols
        counts = pair_counts(
            teacher,
            students,
            weights=block.weights,
            teacher_rtol=teacher_rtol,
            student_rtols=rtols,
        )
        return block.positions, [_block_sums(one, block, weights) for one in counts]

    results = representations.map_blocks(count, anchors, references, n_jobs)
    positions = np.concatenate([positions for positions, _ in results])
    estimates = []
    for student in zip(*(sums for _, sums in results), strict=True):
        coherences = np.empty(len(anchors))
        coherences[positions] = np.concatenate([block.coherences for block in student])
        estimates.append(_combine(representations, anchors, references, coherences, student))
    scores, left_out = zip(*estimates, strict=True)
    return Estimates(np.array(scores), np.array(left_out))


def estimate_within(
    representations: Representations,
    tol: float,
    contrast: ArrayLike,
    rng: np.random.RandomState,
    n_jobs: int | None = None,
) -> Estimates:
    """Draw anchors and references until the standard error is within a tolerance.

    Parameters
    ----------
    representations : Representations
    tol : float
        Largest standard error, unless all samples have been drawn.
    contrast : array-like of shape (n_students,)
        Coefficients of the linear combination of the scores whose standard error this is.
    rng : RandomState
    n_jobs : int, default=None

    Returns
    -------
    estimates : Estimates
    """
    n = representations.n_samples
    anchors, references = rng.permutation(n), rng.permutation(n)
    sizes = np.array([_FIRST_ANCHORS, _FIRST_REFERENCES])
    while True:
        sizes = np.minimum(sizes, n)
        estimates = estimate(representations, anchors[: sizes[0]], references[: sizes[1]], n_jobs)
        error = estimates.standard_error(contrast)
        if not error > tol or (sizes == n).all():
            return estimates
        sizes = np.ceil(sizes * _MARGIN * (error / tol) ** 2).clip(max=n).astype(int)


class _BlockSums(NamedTuple):
    """Coherences of a block of anchors, and their weighted sums without each reference.

    Attributes
    ----------
    coherences : ndarray of shape (n_block,)
    total : ndarray of shape (n_references,)
        Weighted sum of the coherences without each reference, over the other anchors.
    weight : ndarray of shape (n_references,)
        Sum of the weights of those anchors that still have a strict pair.
    """

    coherences: NDArray[np.float64]
    total: NDArray[np.float64]
    weight: NDArray[np.float64]


def _block_sums(counts: Counts, block: AnchorBlock, anchor_weights: torch.Tensor) -> _BlockSums:
    concordant, strict = counts
    if block.weights is not None:
        concordant, strict = concordant * block.weights, strict * block.weights
    # Each pair is counted at both of its references, hence the halves.
    all_concordant, all_strict = (part.sum(1, keepdim=True) / 2 for part in (concordant, strict))
    # A difference of sums that is as small as this may consist of rounding errors only.
    threshold = 1e-9 * all_strict
    without = concordant_fraction(all_concordant - concordant, all_strict - strict, threshold)
    total = anchor_weights[:, None] * without.nan_to_num()
    weight = anchor_weights[:, None] * ~without.isnan()
    if block.own[0] >= 0:
        total, weight = with_own(total, block.own), with_own(weight, block.own)
    coherences = concordant_fraction(all_concordant, all_strict)
    return _BlockSums(
        *(part.cpu().numpy() for part in (coherences[:, 0], total.sum(0), weight.sum(0)))
    )


def _combine(
    representations: Representations,
    anchors: NDArray[np.integer],
    references: NDArray[np.integer],
    coherences: NDArray[np.float64],
    blocks: Sequence[_BlockSums],
) -> tuple[float, NDArray[np.float64]]:
    """The score, and the score without each sample that is an anchor or a reference."""
    defined = ~np.isnan(coherences)
    weights = np.where(defined, representations.weights[anchors], 0)
    values = np.where(defined, coherences, 0)
    total, total_weight = weights @ values, weights.sum()
    # Numerators and denominators of the scores without each sample.
    totals = np.full(representations.n_samples, total)
    total_weights = np.full(representations.n_samples, total_weight)
    totals[anchors] -= weights * values
    total_weights[anchors] -= weights
    # The sums without a reference already exclude that sample as an anchor.
    totals[references] = sum(block.total for block in blocks)
    total_weights[references] = sum(block.weight for block in blocks)
    drawn = np.union1d(anchors, references)
    numerators, denominators = totals[drawn], total_weights[drawn]
    # A denominator as small as this consists of rounding errors.
    left_out = np.where(
        denominators > 1e-9 * total_weight, numerators / np.maximum(denominators, 1e-300), np.nan
    )
    return total / total_weight if total_weight > 0 else np.nan, left_out
