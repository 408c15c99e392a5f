"""Concordant pairs of two rankings, with ties and weights."""

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
import torch

from skperco.ranking._prefix_sums import cumulative_sums, prefix_sums
from skperco.ranking._sorting import arrange, run_starts, sort_rows, sort_values, tie_bounds

# Chunks that fit into a processor's cache are counted several times faster.
_ENTRIES_PER_CHUNK = 2**17
_MIN_BLOCK_BITS = 6


def concordance(
    teacher: torch.Tensor,
    student: torch.Tensor,
    *,
    weights: torch.Tensor | None = None,
    teacher_rtol: float = 0.0,
    student_rtol: float = 0.0,
) -> torch.Tensor:
    """Fraction of the pairs ordered strictly by the teacher that the student orders the same way.

    Parameters
    ----------
    teacher, student : torch.Tensor of shape (n_anchors, n_references)
        Dissimilarities of the same references. A pair that the student ties counts one half,
        a pair that the teacher ties is left out.
    weights : torch.Tensor of shape (n_references,) or (n_anchors, n_references), default=None
        The weight of a pair is the product of the weights of its two references; 1 if None.
    teacher_rtol, student_rtol : float, default=0.0
        Neighboring dissimilarities tie when they differ by at most this fraction of the row's
        largest.

    Returns
    -------
    concordance : torch.Tensor of shape (n_anchors,), float64
        Of each row, in [0, 1]; nan where the teacher ties every pair.

    Notes
    -----
    Knight's algorithm [1]_: sort by the teacher, and count the inversions of the student. They
    are counted by vectorized comparisons within short blocks, and between blocks by a
    two-dimensional histogram of positions and ranks: O(n^1.5) time with a small constant, and
    O(n) memory per row.

    It is batched and weighted, which `scipy.stats.kendalltau` and `scipy.stats.somersd` are not,
    and 10 to 100 times as fast.

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


def row_chunks(*matrices: torch.Tensor, weights: torch.Tensor | None) -> Iterator[tuple]:
    """Chunks of rows of matrices of the same shape and of their weights, for fast counting."""
    rows = max(1, _ENTRIES_PER_CHUNK // matrices[0].shape[1])
    if weights is None:
        weight_chunks = repeat(None)
    else:
        weight_chunks = weights.double().expand(matrices[0].shape).split(rows)
    return zip(*(matrix.split(rows) for matrix in matrices), weight_chunks, strict=False)


class Counts(NamedTuple):
    """Weights of the concordant and of the strict pairs of each reference.

    Attributes
    ----------
    concordant : torch.Tensor of shape (n_anchors, n_references), float64
        Weight of the strict pairs that the student orders the same way; a pair that the student
        ties counts one half.
    strict : torch.Tensor of shape (n_anchors, n_references), float64
        Weight of the pairs that the teacher orders strictly.
    """

    concordant: torch.Tensor
    strict: torch.Tensor


def pair_counts(
    teacher: torch.Tensor,
    students: Sequence[torch.Tensor],
    *,
    weights: torch.Tensor | None = None,
    teacher_rtol: float = 0.0,
    student_rtols: Sequence[float] | None = None,
) -> list[Counts]:
    """Count the pairs of :func:`concordance` by reference, for each of several students.

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
    """Ranks and ties of each row of dissimilarities.

    Attributes
    ----------
    order : torch.Tensor of shape (n_anchors, n_references), int64
        Indices of the entries in ascending order.
    sorted_ranks : torch.Tensor of shape (n_anchors, n_references), int64
        Number of smaller entries, for the entries in ascending order.
    tied : torch.Tensor of shape (n_anchors, n_references), float64
        For each entry in the original order, the weight of the equal ones, itself included.
    untied : torch.Tensor of shape (n_anchors, n_references), float64
        For each entry in the original order, the weight of the unequal ones. Exactly 0, without
        rounding errors, if all others are equal or of weight zero.
    has_ties : bool
    """

    order: torch.Tensor
    sorted_ranks: torch.Tensor
    tied: torch.Tensor
    untied: torch.Tensor
    has_ties: bool

    @property
    def ranks(self) -> torch.Tensor:
        """Number of smaller entries, for the entries in the original order."""
        return _unsort(self.sorted_ranks, self.order)


def rank(
    dissimilarities: torch.Tensor, weights: torch.Tensor | None = None, rtol: float = 0.0
) -> Ranking:
    """Rank each row; neighboring values tie up to a difference of `rtol` times its largest."""
    ordered, order = sort_rows(dissimilarities)
    return _ranking_of_sorted(ordered, order, weights, rtol)


def compare(
    teacher: Ranking, student: Ranking, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Concordance of each row of two Rankings, a float64 tensor of shape (n_anchors,)."""
    _, values, sorted_weights, joint = _sort_student(teacher, student, weights)
    discordant = _sum(_later_smaller(values, sorted_weights), sorted_weights)
    strict = _sum(teacher.untied, weights) / 2
    if student.has_ties:
        student_ties = _tied_pairs(student.tied, weights) - _tied_pairs(joint, weights)
        discordant = discordant + student_ties / 2
    return concordant_fraction(strict - discordant, strict)


def concordant_fraction(
    concordant: torch.Tensor, strict: torch.Tensor, threshold: torch.Tensor | float = 0.0
) -> torch.Tensor:
    """Concordant pairs divided by strictly ordered ones; nan unless these exceed a threshold."""
    return torch.where(strict > threshold, (concordant / strict).clamp(0, 1), torch.nan)


def _count(teacher: Ranking, student: Ranking, weights: torch.Tensor | None) -> Counts:
    order, values, sorted_weights, joint = _sort_student(teacher, student, weights)
    last = values.shape[1] - 1
    reversed_weights = None if sorted_weights is None else sorted_weights.flip(1)
    earlier_larger = _later_smaller(last - values.flip(1), reversed_weights).flip(1)
    discordant = _unsort(_later_smaller(values, sorted_weights) + earlier_larger, order)
    return Counts(teacher.untied - discordant - (student.tied - joint) / 2, teacher.untied)


def _sort_student(
    teacher: Ranking, student: Ranking, weights: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """The student's ranks, made distinct, in ascending order of the teacher's ranks.

    Ties of either ranking are broken such that they add no inversions.

    Returns
    -------
    order : torch.Tensor of shape (n_anchors, n_references), int64
        Indices of the entries in that order.
    values : torch.Tensor of shape (n_anchors, n_references), int64
        The student's ranks: each row is a permutation of 0, ..., n_references - 1.
    sorted_weights : torch.Tensor of shape (n_anchors, n_references), float64, or None
        The weights in that order.
    joint : torch.Tensor of shape (n_anchors, n_references), float64
        For each entry in the original order, the weight of the entries that both tie with it.
    """
    order, ranks, joint = teacher.order, student.ranks, teacher.tied
    bits = ranks.shape[1].bit_length()
    if teacher.has_ties:
        keys, order = sort_rows((teacher.ranks << bits) | ranks)
        joint = _ranking_of_sorted(keys, order, weights).tied
    values = ranks.gather(1, order)
    if student.has_ties:
        positions = torch.arange(values.shape[1], device=values.device)
        by_value = sort_values((values << bits) | positions) & (2**bits - 1)
        values = _unsort(positions.expand_as(by_value), by_value)
    return order, values, arrange(weights, order), joint


def _tied_pairs(tied: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """Weight of all tied pairs, from the weight tied with each entry, itself included."""
    return _sum(tied - (1 if weights is None else weights), weights) / 2


def _sum(values: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    return (values if weights is None else values * weights).sum(1, dtype=torch.float64)


def _unsort(values: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Undo ``gather(1, order)``."""
    return torch.empty(order.shape, dtype=values.dtype, device=order.device).scatter_(
        1, order, values
    )


def _ranking_of_sorted(
    ordered: torch.Tensor,
    order: torch.Tensor,
    weights: torch.Tensor | None,
    rtol: float = 0.0,
) -> Ranking:
    """Ranking of sorted rows, from their runs of ties."""
    if not run_starts(ordered, rtol=rtol).all():
        start, stop = tie_bounds(ordered, rtol=rtol)
        before, until = start.double(), stop.double()
        total: torch.Tensor | int = ordered.shape[1]
        if weights is not None:
            sums = prefix_sums(weights.expand(order.shape).gather(1, order))
            before, until, total = sums.gather(1, start), sums.gather(1, stop), sums[:, -1:]
        tied, untied = until - before, before + (total - until)
        return Ranking(order, start, _unsort(tied, order), _unsort(untied, order), True)
    start = torch.arange(ordered.shape[1], device=ordered.device).expand_as(ordered)
    if weights is None:
        weights = torch.ones((), dtype=torch.float64, device=ordered.device).expand_as(ordered)
    return Ranking(order, start, weights, _others(weights), False)


def _others(weights: torch.Tensor) -> torch.Tensor:
    """For each entry, the weight of all others: exactly 0 if all of them are of weight zero."""
    return weights.sum(1, keepdim=True) - weights


def _later_smaller(values: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
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
    bits = max(_MIN_BLOCK_BITS, n.bit_length() // 2)
    values, weights = _pad(values, weights, -(-n // 2**bits) * 2**bits)
    positions = torch.arange(values.shape[1], device=values.device)
    by_value = _unsort(positions.expand_as(values), values)
    ranges = values >> bits
    n_blocks = values.shape[1] >> bits
    # Each inverted pair is counted once: in_range counts the pairs in the same range of values,
    # in_block the pairs of different ranges in the same block of positions, and elsewhere all
    # others. For in_range the entries are sorted by value: the smaller one of a pair comes first,
    # and the pair counts for the larger.
    in_block = _inverted_in_block(_narrow(ranges, n_blocks), 2**bits, weights, for_later=False)
    in_range = _inverted_in_block(
        _narrow(by_value, by_value.shape[1]), 2**bits, arrange(weights, by_value), for_later=True
    )
    elsewhere = _inverted_elsewhere(positions >> bits, ranges, n_blocks, weights)
    return (elsewhere + in_block + in_range.gather(1, values))[:, :n]


def _pad(
    values: torch.Tensor, weights: torch.Tensor | None, size: int
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Append larger values, which add no inversions, until there are `size` columns."""
    n_rows, n = values.shape
    added = torch.arange(n, size, device=values.device).expand(n_rows, -1)
    if weights is not None:
        weights = torch.nn.functional.pad(weights, (0, size - n))
    return torch.cat([values, added], dim=1), weights


def _inverted_in_block(
    values: torch.Tensor, size: int, weights: torch.Tensor | None, *, for_later: bool
) -> torch.Tensor:
    """Weight of the entries in the same block with which each entry is inverted.

    Each block has `size` entries. A pair counts for its later entry if `for_later`, else for its
    earlier one.
    """
    # With the positions in a block along the first axis, one comparison covers all blocks.
    columns = values.view(-1, size).T.contiguous()
    if weights is None:
        total = torch.zeros_like(columns, dtype=torch.uint8 if size <= 2**8 else torch.int16)
        _count_inverted(columns, total, for_later)
    else:
        weights = weights.reshape(-1, size).T.contiguous()
        total = torch.zeros_like(weights)
        for earlier, later in _shifts(size):
            inverted = columns[earlier] > columns[later]
            one, other = (later, earlier) if for_later else (earlier, later)
            total[one] += inverted * weights[other]
    return total.T.reshape(values.shape)


def _count_inverted(columns: torch.Tensor, total: torch.Tensor, for_later: bool) -> None:
    """Add the counts of inverted pairs of each column to `total`."""
    library: Any = torch
    entries: Any = columns
    counts: Any = total
    if columns.device.type == "cpu":
        # NumPy compares narrow integers ten times as fast as torch does on the CPU.
        library, entries, counts = np, columns.numpy(), total.numpy()
    for earlier, later in _shifts(len(columns)):
        inverted = library.greater(entries[earlier], entries[later]).view(library.uint8)
        counts[later if for_later else earlier] += inverted


def _shifts(size: int) -> Iterator[tuple[slice, slice]]:
    """Slices of the earlier and the later entries of all pairs at each distance below `size`."""
    return ((slice(-distance), slice(distance, None)) for distance in range(1, size))


def _narrow(values: torch.Tensor, count: int) -> torch.Tensor:
    """Convert integers below `count` to the smallest type that holds them."""
    for dtype in (torch.uint8, torch.int16, torch.int32):
        if count - 1 <= torch.iinfo(dtype).max:
            return values.to(dtype)
    return values


def _inverted_elsewhere(
    blocks: torch.Tensor, ranges: torch.Tensor, n_blocks: int, weights: torch.Tensor | None
) -> torch.Tensor:
    """Weight of the entries in later blocks and smaller ranges, for each entry."""
    n_rows = len(ranges)
    side = n_blocks + 1
    dtype = torch.int32 if weights is None else torch.float64
    # cells[b + 1, r + 1] is the weight in block b and range r; the first row and column are empty.
    cells = torch.zeros((n_rows, side * side), dtype=dtype, device=ranges.device)
    cell = ranges + ((blocks + 1) * side + 1)
    ones = torch.ones((), dtype=dtype, device=ranges.device)
    cells.scatter_add_(1, cell, ones.expand_as(cell) if weights is None else weights)
    cells = cells.view(n_rows, side, side)
    smaller = cumulative_sums(cumulative_sums(cells, dim=1, dtype=dtype), dim=2, dtype=dtype)
    later = (smaller[:, -1:] - smaller).reshape(n_rows, -1)
    return later.gather(1, cell.sub_(1))
