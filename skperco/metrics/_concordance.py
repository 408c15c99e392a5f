"""How many pairs two rankings put in the same order, ties and weights included."""

from itertools import repeat
from typing import NamedTuple

import numpy as np
import torch

from skperco.ranking._percentile import cumulative_sums, prefix_sums
from skperco.ranking._sorting import arrange, run_starts, sort_rows, sort_values, tie_bounds

# What fits into a processor's cache is counted several times faster.
_ENTRIES_PER_CHUNK = 2**17
_LEAST_BLOCK_BITS = 6


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
        Neighboring dissimilarities tie when they differ by at most this share of the row's
        largest.

    Returns
    -------
    concordance : torch.Tensor of shape (n_anchors,), float64
        In [0, 1]; nan where the teacher ties every pair.

    Notes
    -----
    As Knight's algorithm [1]_: sort by the teacher, and count the inversions that are left. They
    are counted by comparisons within short blocks, which processors do by the dozen, and by a
    table of how many entries of each block are in each range of ranks: O(n^1.5) time with a small
    constant, and O(n) memory a row.

    References
    ----------
    .. [1] W. R. Knight, "A computer method for calculating Kendall's tau with ungrouped
       data", Journal of the American Statistical Association 61 (1966), 436-439.
    """
    return torch.cat(
        [
            compare(rank(f, w, teacher_rtol), rank(g, w, student_rtol), w)
            for f, g, w in row_chunks(teacher, student, weights=weights)
        ]
    )


def row_chunks(*tables, weights):
    """Rows of tables of the same shape and of their weights, as many as are quick to count."""
    rows = max(1, _ENTRIES_PER_CHUNK // tables[0].shape[1])
    if weights is None:
        weights = repeat(None)
    else:
        weights = weights.double().expand(tables[0].shape).split(rows)
    return zip(*(table.split(rows) for table in tables), weights, strict=False)


class Counts(NamedTuple):
    """Weights of the concordant pairs and of the strict pairs of each reference.

    Attributes
    ----------
    agreeing : torch.Tensor of shape (n_anchors, n_references), float64
        Of the pairs that the teacher orders strictly, those that the student orders alike; a
        pair that the student ties counts one half.
    strict : torch.Tensor of shape (n_anchors, n_references), float64
        The pairs that the teacher orders strictly.
    """

    agreeing: torch.Tensor
    strict: torch.Tensor


def pair_counts(teacher, students, *, weights=None, teacher_rtol=0.0, student_rtols=None):
    """What :func:`concordance` counts, reference by reference, for each of several students.

    Parameters
    ----------
    teacher, weights, teacher_rtol
        As for :func:`concordance`.
    students : list of torch.Tensor of shape (n_anchors, n_references)
    student_rtols : list of float, default=None
        One for each student; all 0 if None.

    Returns
    -------
    counts : list of Counts
    """
    rtols = [0.0] * len(students) if student_rtols is None else student_rtols
    chunks = []
    for f, *others, w in row_chunks(teacher, *students, weights=weights):
        ranked = rank(f, w, teacher_rtol)
        chunks.append(
            [_count(ranked, rank(g, w, rtol), w) for g, rtol in zip(others, rtols, strict=True)]
        )
    return [
        Counts(*map(torch.cat, zip(*parts, strict=True))) for parts in zip(*chunks, strict=True)
    ]


class Ranking(NamedTuple):
    """Rows of dissimilarities, ranked.

    Attributes
    ----------
    order : torch.Tensor of shape (n_anchors, n_references), int64
        Numbers of the entries, the smallest first.
    smaller : torch.Tensor of shape (n_anchors, n_references), int64
        For each of them in that order, the number of smaller entries.
    tied : torch.Tensor of shape (n_anchors, n_references), float64
        For each entry as it came, the weight of the equal ones, itself included.
    apart : torch.Tensor of shape (n_anchors, n_references), float64
        For each entry as it came, the weight of the unequal ones. Exactly 0, without rounding
        errors, if all others are equal or of weight zero.
    has_ties : bool
    """

    order: torch.Tensor
    smaller: torch.Tensor
    tied: torch.Tensor
    apart: torch.Tensor
    has_ties: bool

    @property
    def ranks(self):
        """For each entry as it came, the number of smaller entries."""
        return _put_back(self.smaller, self.order)


def rank(dissimilarities, weights=None, rtol=0.0):
    """Rank each row; neighboring values tie that differ by this share of the row's largest."""
    ordered, order = sort_rows(dissimilarities)
    return _runs(ordered, order, weights, rtol)


def compare(teacher, student, weights=None):
    """Concordance of each row of two Rankings, a float64 tensor of shape (n_anchors,)."""
    _, values, arranged, joint = _arrange(teacher, student, weights)
    discordant = _sum(_later_smaller(values, arranged), arranged)
    strict = _sum(teacher.apart, weights) / 2
    if student.has_ties:
        student_ties = _tied_pairs(student.tied, weights) - _tied_pairs(joint, weights)
        discordant = discordant + student_ties / 2
    return concordant_share(strict - discordant, strict)


def concordant_share(concordant, strict, least=0.0):
    """Concordant pairs divided by strictly ordered ones; nan where these weigh at most `least`."""
    return torch.where(strict > least, (concordant / strict).clamp(0, 1), torch.nan)


def _count(teacher, student, weights):
    order, values, arranged, joint = _arrange(teacher, student, weights)
    last = values.shape[1] - 1
    backwards = None if arranged is None else arranged.flip(1)
    earlier_larger = _later_smaller(last - values.flip(1), backwards).flip(1)
    discordant = _put_back(_later_smaller(values, arranged) + earlier_larger, order)
    return Counts(teacher.apart - discordant - (student.tied - joint) / 2, teacher.apart)


def _arrange(teacher, student, weights):
    """The student's ranks, made distinct, from the teacher's nearest to its farthest.

    Ties of either are broken so that they are not inverted.

    Returns
    -------
    order : int64, where each place comes from
    values : int64, a permutation of 0, 1, ... in each row
    arranged : the weights in that order, or None
    joint : float64, weight of what teacher and student both tie with each entry, as it came
    """
    order, ranks, joint = teacher.order, student.ranks, teacher.tied
    bits = ranks.shape[1].bit_length()
    if teacher.has_ties:
        keys, order = sort_rows((teacher.ranks << bits) | ranks)
        joint = _runs(keys, order, weights).tied
    values = ranks.gather(1, order)
    if student.has_ties:
        places = torch.arange(values.shape[1], device=values.device)
        by_value = sort_values((values << bits) | places) & (2**bits - 1)
        values = _put_back(places.expand_as(by_value), by_value)
    return order, values, arrange(weights, order), joint


def _tied_pairs(tied, weights):
    """Weight of all tied pairs, from what is tied with each entry, itself included."""
    return _sum(tied - (1 if weights is None else weights), weights) / 2


def _sum(values, weights):
    return (values if weights is None else values * weights).sum(1, dtype=torch.float64)


def _put_back(values, order):
    """Undo an arrangement."""
    return torch.empty(order.shape, dtype=values.dtype, device=order.device).scatter_(
        1, order, values
    )


def _runs(ordered, order, weights, rtol=0.0):
    """The Ranking of sorted rows by their runs of ties."""
    if not run_starts(ordered, rtol=rtol).all():
        start, stop = tie_bounds(ordered, rtol=rtol)
        before, until, total = start.double(), stop.double(), ordered.shape[1]
        if weights is not None:
            mass = prefix_sums(arrange(weights, order))
            before, until, total = mass.gather(1, start), mass.gather(1, stop), mass[:, -1:]
        tied, apart = until - before, before + (total - until)
        return Ranking(order, start, _put_back(tied, order), _put_back(apart, order), True)
    start = torch.arange(ordered.shape[1], device=ordered.device).expand_as(ordered)
    if weights is None:
        weights = torch.ones((), dtype=torch.float64, device=ordered.device).expand_as(ordered)
    return Ranking(order, start, weights, _others(weights), False)


def _others(weights):
    """For each entry, the weight of all others: exactly 0 if all of them are of weight zero."""
    return weights.sum(1, keepdim=True) - weights


def _later_smaller(values, weights):
    """Weight of the later and smaller entries of the row, for each of its entries.

    Parameters
    ----------
    values : torch.Tensor of shape (n_rows, n), int64
        Permutations of 0, ..., n - 1.
    weights : torch.Tensor of shape (n_rows, n), float64, or None

    Returns
    -------
    smaller : torch.Tensor of shape (n_rows, n), float64 or int32
    """
    n = values.shape[1]
    bits = max(_LEAST_BLOCK_BITS, n.bit_length() // 2)
    values, weights = _pad(values, weights, -(-n // 2**bits) * 2**bits)
    places = torch.arange(values.shape[1], device=values.device)
    by_value = _put_back(places.expand_as(values), values)
    ranges = values >> bits
    n_blocks = values.shape[1] >> bits
    # Of two entries in the same block of places, or else of values, or else in neither. By value
    # the smaller comes first, and the pair counts for the other one.
    in_block = _inverted_in_block(_narrow(ranges, n_blocks), 2**bits, weights, for_later=False)
    in_range = _inverted_in_block(
        _narrow(by_value, by_value.shape[1]), 2**bits, arrange(weights, by_value), for_later=True
    )
    elsewhere = _inverted_elsewhere(places >> bits, ranges, n_blocks, weights)
    return (elsewhere + in_block + in_range.gather(1, values))[:, :n]


def _pad(values, weights, size):
    """Append the largest values, which invert nothing."""
    n_rows, n = values.shape
    added = torch.arange(n, size, device=values.device).expand(n_rows, -1)
    if weights is not None:
        weights = torch.nn.functional.pad(weights, (0, size - n))
    return torch.cat([values, added], dim=1), weights


def _inverted_in_block(values, size, weights, *, for_later):
    """Weight of what each entry is inverted with in its block of so many entries.

    A pair counts for its earlier entry, or for its later one.
    """
    # With the places of a block along the first axis, a comparison runs over all blocks at once.
    columns = values.view(-1, size).T.contiguous()
    if weights is None:
        total = torch.zeros_like(columns, dtype=torch.uint8 if size <= 2**8 else torch.int16)
        _count_inverted(columns, total, for_later)
    else:
        weights = weights.reshape(-1, size).T.contiguous()
        total = torch.zeros_like(weights)
        for earlier, later in _distances(size):
            inverted = columns[earlier] > columns[later]
            one, other = (later, earlier) if for_later else (earlier, later)
            total[one] += inverted * weights[other]
    return total.T.reshape(values.shape)


def _count_inverted(columns, total, for_later):
    """Add the numbers of inverted pairs of each column to `total`."""
    greater, uint8 = torch.gt, torch.uint8
    if columns.device.type == "cpu":
        # NumPy compares narrow integers ten times as fast as torch does on the CPU.
        columns, total, greater, uint8 = columns.numpy(), total.numpy(), np.greater, np.uint8
    for earlier, later in _distances(len(columns)):
        inverted = greater(columns[earlier], columns[later]).view(uint8)
        total[later if for_later else earlier] += inverted


def _distances(size):
    """Slices of the earlier and the later of two entries, at every distance below a size."""
    return ((slice(-distance), slice(distance, None)) for distance in range(1, size))


def _narrow(values, count):
    """Numbers below a count in the narrowest type that holds them."""
    for dtype in (torch.uint8, torch.int16, torch.int32):
        if count - 1 <= torch.iinfo(dtype).max:
            return values.to(dtype)
    return values


def _inverted_elsewhere(blocks, ranges, n_blocks, weights):
    """Weight of the entries in later blocks and smaller ranges, for each entry."""
    n_rows = len(ranges)
    side = n_blocks + 1
    dtype = torch.int32 if weights is None else torch.float64
    # cells[b + 1, r + 1] holds what is in block b and range r; the first row and column are empty.
    cells = torch.zeros((n_rows, side * side), dtype=dtype, device=ranges.device)
    cell = ranges + ((blocks + 1) * side + 1)
    ones = torch.ones((), dtype=dtype, device=ranges.device)
    cells.scatter_add_(1, cell, ones.expand_as(cell) if weights is None else weights)
    cells = cells.view(n_rows, side, side)
    smaller = cumulative_sums(cumulative_sums(cells, dim=1, dtype=dtype), dim=2, dtype=dtype)
    later = (smaller[:, -1:] - smaller).reshape(n_rows, -1)
    return later.gather(1, cell.sub_(1))
