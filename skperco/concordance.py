"""How many pairs two rankings put in the same order, ties and weights included."""

from itertools import repeat

import torch

from skperco.ranking import arrange, sort_rows, sort_values, tie_bounds

# What fits into a processor's cache is counted several times faster.
_ENTRIES_PER_CHUNK = 2**16


def concordance(teacher, student, *, weights=None, teacher_rtol=0.0, student_rtol=0.0):
    """Share of the teacher's strictly ordered pairs that the student orders alike, per row.

    Parameters
    ----------
    teacher, student : torch.Tensor of shape (n_anchors, n_references)
        Dissimilarities of the same references. A pair that the student ties counts one half,
        a pair that the teacher ties is left out.
    weights : torch.Tensor of shape (n_references,) or (n_anchors, n_references), default=None
        A pair weighs the product of the weights of its two references; 1 if None.
    teacher_rtol, student_rtol : float, default=0.0
        Neighbouring dissimilarities tie when they differ by at most this share of the row's
        largest.

    Returns
    -------
    concordance : torch.Tensor of shape (n_anchors,), float64
        In [0, 1]; nan where the teacher ties every pair.

    Notes
    -----
    Knight's algorithm [1]_ on all rows at once: sort by the teacher and then the student, and
    count the inversions that are left with a merge sort. O(n log^2 n) time, O(n) memory a row.

    References
    ----------
    .. [1] W. R. Knight, "A computer method for calculating Kendall's tau with ungrouped
       data", Journal of the American Statistical Association 61 (1966), 436-439.
    """
    rows = max(1, _ENTRIES_PER_CHUNK // teacher.shape[1])
    chunks = zip(
        teacher.split(rows),
        student.split(rows),
        repeat(None) if weights is None else weights.double().expand(teacher.shape).split(rows),
        strict=False,
    )
    return torch.cat([_concordance(*chunk, teacher_rtol, student_rtol) for chunk in chunks])


def _concordance(teacher, student, weights, teacher_rtol, student_rtol):
    n = teacher.shape[1]
    teacher_ranks, teacher_ties = _tied_ranks(teacher, weights, teacher_rtol)
    student_ranks, student_ties = _tied_ranks(student, weights, student_rtol)
    ordered, order = sort_rows(teacher_ranks * n + student_ranks)
    arranged = arrange(weights, order)
    start, _ = tie_bounds(ordered)
    joint_ties = _tied_pairs(start, arranged)
    strict = _all_pairs(teacher, weights) - teacher_ties
    discordant = _inversions(ordered % n, arranged)
    agreement = 1 - (discordant + (student_ties - joint_ties) / 2) / strict
    sees_order = (teacher_ranks != teacher_ranks[:, :1]).any(1)
    return torch.where(sees_order, agreement.clamp(0, 1), torch.nan)


def _tied_ranks(values, weights, rtol):
    """Number of smaller entries for each entry of a row, and the weight of the tied pairs."""
    ordered, order = sort_rows(values)
    start, _ = tie_bounds(ordered, rtol=rtol)
    ranks = torch.empty_like(order).scatter_(1, order, start)
    return ranks, _tied_pairs(start, arrange(weights, order))


def _tied_pairs(start, weights):
    """Weight of the pairs inside runs of ties, of sorted rows whose runs begin at `start`."""
    if weights is None:
        return (torch.arange(start.shape[1], device=start.device) - start).sum(1).double()
    before = weights.cumsum(1) - weights
    return (weights * (before - before.gather(1, start))).sum(1)


def _all_pairs(values, weights):
    if weights is None:
        n = values.shape[1]
        return n * (n - 1) / 2
    return (weights.sum(1).square() - weights.square().sum(1)) / 2


def _inversions(ranks, weights):
    """Weight of the pairs of each row whose earlier entry is strictly larger, by merge sort.

    Sorted runs of length 2, 4, 8, ... keep in their low bits where each entry came from: bit
    number `level` tells the later half of a run from the earlier one.
    """
    n_rows, n = ranks.shape
    levels = max(n - 1, 1).bit_length()
    size = 2**levels
    # The padding is larger than all and comes last, so that it inverts nothing.
    keys = torch.full((n_rows, size), size - 1, device=ranks.device)
    keys[:, :n] = ranks
    keys = keys * size + torch.arange(size, device=ranks.device)
    if size <= 2**15:
        keys = keys.int()
    if weights is not None:
        weights = torch.nn.functional.pad(weights, (0, size - n))
    total = torch.zeros(n_rows, dtype=torch.float64, device=ranks.device)
    for level in range(levels):
        keys = sort_values(keys.view(n_rows, -1, 2 ** (level + 1)))
        later = (keys >> level) & 1
        if weights is None:
            total += _later_before_earlier(later)
        else:
            origin = (keys & (size - 1)).view(n_rows, -1).long()
            mass = weights.gather(1, origin).view(keys.shape)
            total += ((1 - later) * mass * (later * mass).cumsum(2)).sum((1, 2))
    return total


def _later_before_earlier(later):
    """Pairs of a later entry sorted before an earlier one, by the earlier entries' positions."""
    _, runs, length = later.shape
    half = length // 2
    positions = torch.arange(length, device=later.device)
    earlier = (1 - later).sum(1)
    return (earlier * positions).sum(1).double() - runs * (half * (half - 1) // 2)
