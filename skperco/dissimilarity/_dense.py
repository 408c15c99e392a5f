"""Pairwise dissimilarities between anchors and references, by name or callable."""

import difflib
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch.autograd.function import once_differentiable

from skperco.utils._global_settings import without_autocast
from skperco.utils._tensors import check_batches, check_matrices
from skperco.utils._types import Metric

ANGULAR_METRICS = {"cosine", "correlation"}

_PAIRS_PER_CHUNK = 2**15


def pairwise_dissimilarity(
    anchors: torch.Tensor, references: torch.Tensor | None, *, metric: Metric = "cosine"
) -> torch.Tensor:
    """Dissimilarities of every anchor to every reference.

    Parameters
    ----------
    anchors : torch.Tensor of shape (..., n_anchors, n_features)
        Leading dimensions, if any, are those of a batch. With ``metric="precomputed"``, rows of a
        dissimilarity matrix, of shape (n_anchors, n_references).
    references : torch.Tensor of shape (..., n_references, n_features) or None
        In the dtype and on the device of `anchors`. Ignored with
        ``metric="precomputed"``.
    metric : {"cosine", "euclidean", "sqeuclidean", "manhattan", "correlation", \
            "precomputed"} or callable, default="cosine"
        A callable takes (anchors, references), two matrices of the same dtype on the same device,
        and returns a tensor, array or list of shape (n_anchors, n_references), which is converted
        to that dtype and device. In a training step it must return a differentiable tensor.

    Returns
    -------
    dissimilarities : torch.Tensor of shape (..., n_anchors, n_references)
        In the dtype of `anchors`; differentiable with respect to both inputs.

    Raises
    ------
    ValueError
        If `metric` is unknown, a callable returns another shape, or the tensors are not dense, or
        differ in their number of features, leading dimensions or device.
    TypeError
        If `metric` is neither a string nor a callable, or `anchors` and `references` are not
        tensors of one floating-point dtype.

    Notes
    -----
    Half precision is computed in single precision, and the results are rounded.

    Identical rows have dissimilarity exactly 0, with a finite gradient. Squared distances are
    computed as ``|a|^2 + |b|^2 - 2 a.b``, after subtracting the mean of the references. For pairs
    of near rows this loses digits to cancellation, so their distances are recomputed from
    differences: float32 is accurate for near neighbors as well.

    ``"cosine"`` is half the squared distance of the rows scaled to unit norm, which equals
    1 - cos. The cosine of a zero row is undefined: its dissimilarity is set to 1 to nonzero rows,
    and to 0 to other zero rows. ``"correlation"`` is the cosine dissimilarity after the mean of
    each row is subtracted from it; constant rows become zero rows.

    Examples
    --------
    >>> import torch
    >>> from skperco import pairwise_dissimilarity
    >>> rows = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
    >>> pairwise_dissimilarity(rows[:1], rows, metric="euclidean")
    tensor([[0.0000, 2.2361, 3.6056]])
    """
    function = check_metric(metric)
    if isinstance(metric, str) and metric == "precomputed":
        check_matrices({"anchors": anchors})
        return function(anchors, references)
    references = cast(torch.Tensor, references)  # None only with "precomputed"
    check_batches({"anchors": anchors, "references": references})
    evaluate = _evaluate_callable if callable(metric) else _evaluate_named
    return evaluate(function, anchors, references)


@without_autocast
def _evaluate_named(
    function: Callable[..., torch.Tensor], anchors: torch.Tensor, references: torch.Tensor
) -> torch.Tensor:
    if torch.finfo(anchors.dtype).bits >= 32:
        return function(anchors, references)
    return function(anchors.float(), references.float()).to(anchors.dtype)


@without_autocast
def _evaluate_callable(
    function: Callable[..., Any], anchors: torch.Tensor, references: torch.Tensor
) -> torch.Tensor:
    """Call a user's metric for each matrix of a batch, and check the shape of its results."""
    if anchors.ndim > 2:
        return torch.stack(
            [_evaluate_callable(function, *pair) for pair in zip(anchors, references, strict=True)]
        )
    dissimilarities = torch.as_tensor(
        function(anchors, references), dtype=anchors.dtype, device=anchors.device
    )
    expected = (len(anchors), len(references))
    if tuple(dissimilarities.shape) != expected:
        raise ValueError(
            f"metric must return dissimilarities of shape {expected} (anchors x references), "
            f"got {tuple(dissimilarities.shape)}."
        )
    return dissimilarities


def check_no_nan(dissimilarities: torch.Tensor, metric: Metric, name: str) -> torch.Tensor:
    """Return the dissimilarities, or raise a ValueError if a callable metric returned nan.

    Comparisons with nan are false, so nan would silently get a rank.
    """
    if callable(metric) and dissimilarities.isnan().any():
        raise ValueError(f"{name} must return dissimilarities that are numbers, got nan.")
    return dissimilarities


def check_metric(metric: Metric, name: str = "metric") -> Callable[..., Any]:
    """Return the function behind `metric`, or raise an error that lists the known names.

    Parameters
    ----------
    metric : str or callable
    name : str, default="metric"
        Name of the argument, for error messages.

    Returns
    -------
    function : callable
    """
    if callable(metric):
        return metric
    if not isinstance(metric, str):
        raise TypeError(f"{name} must be a string or a callable, got {metric!r}.")
    if metric not in METRICS:
        nearest = difflib.get_close_matches(metric, METRICS, n=1)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        raise ValueError(
            f"{name} must be one of {sorted(METRICS)} or a callable, got {metric!r}.{hint}"
        )
    return METRICS[metric]


def order_to_references(
    references: torch.Tensor, metric: Metric
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Prepare references for repeated computation of the dissimilarities of anchors to them.

    Parameters
    ----------
    references : torch.Tensor of shape (n_references, n_features)
    metric : str or callable
        Not "precomputed".

    Returns
    -------
    dissimilarities_of : callable
        From anchors, a tensor of shape (n_anchors, n_features), to a new tensor of shape
        (n_anchors, n_references), without a gradient. Within each row the results have the
        order of the dissimilarities, not their values: for metrics based on squared distances
        they are distances, whose rounding errors are about the same for near and far references.
    """
    if callable(metric) or metric not in _NORMALIZATIONS:
        return lambda anchors: pairwise_dissimilarity(anchors, references, metric=metric)
    normalize = _NORMALIZATIONS[metric]
    squared_distances = _SquaredDistances(normalize(references))
    return lambda anchors: squared_distances(normalize(anchors)).sqrt_()


def order_among_rows(
    rows: torch.Tensor, metric: Metric
) -> Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]:
    """Prepare rows for repeated computation of dissimilarities between some of them.

    Parameters
    ----------
    rows : torch.Tensor of shape (n_rows, n_features)
    metric : str or callable
        Not "precomputed".

    Returns
    -------
    dissimilarities_between : callable
        From the indices of anchors, and of references or None for all rows, to a new tensor of
        shape (n_anchors, n_references). Within each row the results have the order of
        the dissimilarities, up to rounding errors by cancellation, but not their values.
    """
    if callable(metric) or metric not in _NORMALIZATIONS:
        return lambda anchors, references: pairwise_dissimilarity(
            rows[anchors], _some(rows, references), metric=metric
        )
    # For one anchor a, |a - b|^2 has the order of |b|^2 / 2 - a.b.
    prepared = _SquaredDistances(_NORMALIZATIONS[metric](rows))
    rows, half_norms = prepared.references, prepared.norms[0] / 2
    return lambda anchors, references: torch.addmm(
        _some(half_norms, references),
        rows.index_select(0, anchors),
        _some(rows, references).T,
        alpha=-1,
    )


def _some(rows: torch.Tensor, indices: torch.Tensor | None) -> torch.Tensor:
    return rows if indices is None else rows.index_select(0, indices)


def unit_rows(rows: torch.Tensor) -> torch.Tensor:
    """Scale every row to unit norm; zero rows stay zero.

    Rows are divided by their largest entry first, so that squares neither overflow nor underflow.
    """
    return _UnitRows.apply(rows)


def row_norms(rows: torch.Tensor) -> torch.Tensor:
    """Norms of the rows, of shape (..., 1), computed without overflow or underflow."""
    return _RowNorms.apply(rows)


def row_centered(rows: torch.Tensor) -> torch.Tensor:
    """Subtract the mean of each row from it; constant rows become exactly zero."""
    # The mean of a constant row is rounded, so the difference might not be exactly zero.
    varying = (rows != rows[..., :1]).any(-1, keepdim=True)
    return torch.where(varying, rows - rows.mean(-1, keepdim=True), 0)


def without_diagonal(matrix: torch.Tensor) -> torch.Tensor:
    """Drop the diagonal: (n, n, ...) to (n, n - 1, ...)."""
    n = len(matrix)
    others = matrix.flatten(0, 1)[1:].unflatten(0, (n - 1, n + 1))[:, :-1]
    return others.reshape(n, n - 1, *matrix.shape[2:])


def _cosine(anchors: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
    return _sqeuclidean(_directions(anchors), _directions(references)) / 2


def _correlation(anchors: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
    return _sqeuclidean(_centered_directions(anchors), _centered_directions(references)) / 2


def _euclidean(anchors: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
    squared = _sqeuclidean(anchors, references)
    distinct = squared != 0
    # The derivative of the square root is infinite at 0; identical rows get the subgradient 0.
    return torch.where(distinct, torch.where(distinct, squared, 1).sqrt(), 0)


def _sqeuclidean(anchors: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
    return _SquaredEuclidean.apply(anchors, references)


def _manhattan(anchors: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
    return torch.cdist(anchors, references, p=1)


def _precomputed(anchors: torch.Tensor, references: torch.Tensor | None) -> torch.Tensor:
    return anchors


METRICS: dict[str, Callable[..., torch.Tensor]] = {
    "cosine": _cosine,
    "correlation": _correlation,
    "euclidean": _euclidean,
    "manhattan": _manhattan,
    "precomputed": _precomputed,
    "sqeuclidean": _sqeuclidean,
}


def _directions(rows: torch.Tensor) -> torch.Tensor:
    """Unit rows with one more column, which is 1 for zero rows and 0 for all others."""
    zero = (rows == 0).all(-1, keepdim=True)
    return torch.cat([unit_rows(rows), zero.to(rows.dtype)], dim=-1)


def _centered_directions(rows: torch.Tensor) -> torch.Tensor:
    return _directions(row_centered(rows))


def _unchanged(rows: torch.Tensor) -> torch.Tensor:
    return rows


_NORMALIZATIONS = {
    "cosine": _directions,
    "correlation": _centered_directions,
    "euclidean": _unchanged,
    "sqeuclidean": _unchanged,
}


class _UnitRows(torch.autograd.Function):
    """L2 normalization with a fused backward pass.

    Forward and backward take half the time of the same forward pass with autograd, and 0.6 times
    that of `torch.nn.functional.normalize`, which underflows (2,048 x 384, float32, one thread).
    """

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor) -> torch.Tensor:
        peaks = rows.abs().amax(-1, keepdim=True)
        peaks.masked_fill_(peaks == 0, 1)
        unit = rows / peaks
        norms = torch.linalg.vector_norm(unit, dim=-1, keepdim=True)
        norms.masked_fill_(norms == 0, 1)
        unit /= norms
        ctx.save_for_backward(unit, peaks * norms)
        return unit

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        unit, norms = ctx.saved_tensors
        along = (grad * unit).sum(-1, keepdim=True)
        return torch.addcmul(grad, unit, along, value=-1).div_(norms)


class _RowNorms(torch.autograd.Function):
    """Norms of rows; those that overflow or underflow are recomputed in double precision.

    Forward and backward take about the time of `torch.linalg.vector_norm`, which underflows, and
    0.3 times that of computing all norms in double precision (2,048 x 384, float32, one thread).
    """

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor) -> torch.Tensor:
        norms = _norms_in_range(rows)
        ctx.save_for_backward(rows, norms)
        return norms

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        rows, norms = ctx.saved_tensors
        return grad * (rows / torch.where(norms > 0, norms, 1))


def _norms_in_range(rows: torch.Tensor) -> torch.Tensor:
    precise = partial(torch.linalg.vector_norm, dim=-1, keepdim=True, dtype=torch.float64)
    # Selecting rows by their values needs a synchronization on devices other than the CPU, and is
    # impossible in a traced graph.
    if rows.device.type != "cpu" or torch.compiler.is_compiling():
        return precise(rows).to(rows.dtype)
    norms = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    precision = torch.finfo(rows.dtype)
    inexact = (norms < (precision.tiny / precision.eps) ** 0.5) | norms.isinf()
    if inexact.any():
        chosen = inexact.squeeze(-1)
        norms[chosen] = precise(rows[chosen]).to(rows.dtype)
    return norms


class _SquaredDistances:
    """|a|^2 + |b|^2 - 2 a.b; pairs that lose digits to cancellation are computed from a - b."""

    def __init__(self, references: torch.Tensor) -> None:
        self.offset = _few_bits(references.flatten(end_dim=-2).mean(0))
        self.references = references - self.offset
        self.norms = self.references.square().sum(-1)[..., None, :]

    def __call__(self, anchors: torch.Tensor) -> torch.Tensor:
        anchors = anchors - self.offset
        norms = anchors.square().sum(-1)[..., :, None]
        # In place, since allocating memory takes longer than the sums.
        squared = (-2 * anchors) @ self.references.mT
        squared += norms
        squared += self.norms
        # Below this fraction of the norms, cancellation has lost a quarter of the digits.
        share = torch.finfo(squared.dtype).eps ** 0.25
        close = squared < share * (norms + self.norms.amax(-1, keepdim=True))
        for pairs in close.nonzero().split(_PAIRS_PER_CHUNK):
            *batch, row, column = pairs.unbind(1)
            differences = anchors[*batch, row] - self.references[*batch, column]
            squared[*batch, row, column] = differences.square().sum(-1)
        return squared


class _SquaredEuclidean(torch.autograd.Function):
    """Squared distances with a backward pass of two matrix products.

    Forward and backward take 0.8 times as long as the same forward pass with autograd (2,048 x
    2,048 pairs of 64 features, float32, one thread).
    """

    @staticmethod
    def forward(ctx: Any, anchors: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
        squared_distances = _SquaredDistances(references)
        ctx.save_for_backward(anchors - squared_distances.offset, squared_distances.references)
        return squared_distances(anchors)

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        anchors, references = ctx.saved_tensors
        grad_anchors = grad.sum(-1)[..., None] * anchors - grad @ references
        grad_references = grad.sum(-2)[..., None] * references - grad.mT @ anchors
        return 2 * grad_anchors, 2 * grad_references


def _few_bits(values: torch.Tensor) -> torch.Tensor:
    """Round to 8 significant bits, so that subtracting them from small integers is exact."""
    mantissa, exponent = torch.frexp(values)
    return torch.ldexp((mantissa * 256).round() / 256, exponent)
