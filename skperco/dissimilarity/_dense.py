"""Pairwise dissimilarities between anchors and references, by name or callable."""

import difflib
from functools import partial

import torch
from torch.autograd.function import once_differentiable

from skperco.utils._global_settings import without_autocast

ANGULAR_METRICS = {"cosine", "correlation"}


_PAIRS_PER_CHUNK = 2**15


@without_autocast
def pairwise_dissimilarity(anchors, references, *, metric="cosine"):
    """Dissimilarities of every anchor to every reference.

    Parameters
    ----------
    anchors : torch.Tensor of shape (..., n_anchors, n_features)
        Leading dimensions, if any, are those of a batch. With
        ``metric="precomputed"``, rows of a table, of shape (n_anchors, n_references).
    references : torch.Tensor of shape (..., n_references, n_features) or None
        In the dtype and on the device of `anchors`. Ignored with
        ``metric="precomputed"``.
    metric : {"cosine", "euclidean", "sqeuclidean", "manhattan", "correlation", \
            "precomputed"} or callable, default="cosine"
        A callable takes (anchors, references), two matrices of one dtype on one device, and
        returns a tensor, array or list of shape (n_anchors, n_references), which is converted to
        that dtype and device. In a training step it must return a differentiable tensor.

    Returns
    -------
    dissimilarities : torch.Tensor of shape (..., n_anchors, n_references)
        In the dtype of `anchors`; differentiable with respect to both inputs.

    Raises
    ------
    ValueError
        If `metric` is unknown, or a callable returns another shape.
    TypeError
        If `metric` is neither a string nor a callable.

    Notes
    -----
    Identical rows have dissimilarity exactly 0, with a finite gradient. Squared distances are
    matrix products, of rows shifted by their common offset; the few pairs that lie too close
    together for that form are computed from their differences, so that float32 keeps its
    digits for near neighbors as well.

    ``"cosine"`` is half the squared distance of the rows scaled to unit norm, which is
    1 - cos. A zero row has no direction: its dissimilarity is 1 to every other row and 0 to
    another zero row. ``"correlation"`` is the cosine dissimilarity of rows less their own
    mean; a constant row counts as a zero row there.

    Examples
    --------
    >>> import torch
    >>> from skperco import pairwise_dissimilarity
    >>> rows = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
    >>> pairwise_dissimilarity(rows[:1], rows, metric="euclidean")
    tensor([[0.0000, 2.2361, 3.6056]])
    """
    function = check_metric(metric)
    if not callable(metric):
        return function(anchors, references)
    if anchors.ndim > 2:
        return torch.stack(
            [_called(function, *pair) for pair in zip(anchors, references, strict=True)]
        )
    return _called(function, anchors, references)


def _called(function, anchors, references):
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


def check_no_nan(dissimilarities, metric, name):
    """Return what a callable has returned, or raise a ValueError if an entry is nan.

    A comparison with nan is false, so nan would get a rank like any number.
    """
    if callable(metric) and dissimilarities.isnan().any():
        raise ValueError(f"{name} must return dissimilarities that are numbers, got nan.")
    return dissimilarities


def check_metric(metric, name="metric"):
    """Return the function behind `metric`, or raise an error that lists the known names.

    Parameters
    ----------
    metric : str or callable
    name : str, default="metric"
        What the caller calls this argument.

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


def to_references(references, metric):
    """Prepare references for blocks of anchors.

    Parameters
    ----------
    references : torch.Tensor of shape (n_references, n_features)
    metric : str or callable
        Not "precomputed".

    Returns
    -------
    look : callable
        From anchors, a tensor of shape (n_anchors, n_features), to a new tensor of shape
        (n_anchors, n_references). It has the order of the dissimilarities, not always their
        values, and no gradient: squares are on the scale of distances, where rounding errors
        are even.
    """
    if callable(metric) or metric not in _NORMALIZATIONS:
        return lambda anchors: pairwise_dissimilarity(anchors, references, metric=metric)
    normalize = _NORMALIZATIONS[metric]
    squared_distances = _SquaredDistances(normalize(references))
    return lambda anchors: squared_distances(normalize(anchors)).sqrt_()


def among(rows, metric):
    """Prepare rows for repeated computation of dissimilarities between some of them.

    Parameters
    ----------
    rows : torch.Tensor of shape (n_rows, n_features)
    metric : str or callable
        Not "precomputed".

    Returns
    -------
    look : callable
        From indices of anchors, and of references or None for all rows, to a new tensor of
        shape (n_anchors, n_references). Each of its rows has the order of the dissimilarities,
        but for rounding where squared distances cancel.
    """
    if callable(metric) or metric not in _NORMALIZATIONS:
        return lambda anchors, references: pairwise_dissimilarity(
            rows[anchors], _some(rows, references), metric=metric
        )
    prepared = _SquaredDistances(_NORMALIZATIONS[metric](rows))
    rows, half_norms = prepared.references, prepared.norms[0] / 2
    return lambda anchors, references: torch.addmm(
        _some(half_norms, references),
        rows.index_select(0, anchors),
        _some(rows, references).T,
        alpha=-1,
    )


def _some(rows, numbers):
    return rows if numbers is None else rows.index_select(0, numbers)


def unit_rows(rows):
    """Scale every row to unit norm; zero rows stay zero.

    Scaling by the largest entry first keeps squares from overflowing or vanishing.
    """
    return _UnitRows.apply(rows)


def row_norms(rows):
    """Norms of the rows, of shape (..., 1), whose squares neither underflow nor overflow."""
    return _RowNorms.apply(rows)


def row_centered(rows):
    """Subtract from every row its own mean; constant rows become exactly zero."""
    # The mean of a constant row is rounded: what is left of such a row would be noise.
    varying = (rows != rows[..., :1]).any(-1, keepdim=True)
    return torch.where(varying, rows - rows.mean(-1, keepdim=True), 0)


def without_diagonal(table):
    """Drop the diagonal: (n, n, ...) to (n, n - 1, ...)."""
    n = len(table)
    others = table.flatten(0, 1)[1:].unflatten(0, (n - 1, n + 1))[:, :-1]
    return others.reshape(n, n - 1, *table.shape[2:])


def _cosine(anchors, references):
    return _sqeuclidean(_directions(anchors), _directions(references)) / 2


def _correlation(anchors, references):
    return _sqeuclidean(_centered_directions(anchors), _centered_directions(references)) / 2


def _euclidean(anchors, references):
    squared = _sqeuclidean(anchors, references)
    distinct = squared != 0
    # The root has no finite slope at 0; identical rows get the subgradient 0.
    return torch.where(distinct, torch.where(distinct, squared, 1).sqrt(), 0)


def _sqeuclidean(anchors, references):
    return _SquaredEuclidean.apply(anchors, references)


def _manhattan(anchors, references):
    return torch.cdist(anchors, references, p=1)


def _precomputed(anchors, references):
    return anchors


METRICS = {
    "cosine": _cosine,
    "correlation": _correlation,
    "euclidean": _euclidean,
    "manhattan": _manhattan,
    "precomputed": _precomputed,
    "sqeuclidean": _sqeuclidean,
}


def _directions(rows):
    """Unit rows with one more column, in which all zero rows share a direction of their own."""
    zero = (rows == 0).all(-1, keepdim=True)
    return torch.cat([unit_rows(rows), zero.to(rows.dtype)], dim=-1)


def _centered_directions(rows):
    return _directions(row_centered(rows))


def _unchanged(rows):
    return rows


_NORMALIZATIONS = {
    "cosine": _directions,
    "correlation": _centered_directions,
    "euclidean": _unchanged,
    "sqeuclidean": _unchanged,
}


class _UnitRows(torch.autograd.Function):
    """L2 normalization with a fused backward pass; autograd would take about ten passes."""

    @staticmethod
    def forward(ctx, rows):
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
    def backward(ctx, grad):
        unit, norms = ctx.saved_tensors
        along = (grad * unit).sum(-1, keepdim=True)
        return torch.addcmul(grad, unit, along, value=-1).div_(norms)


class _RowNorms(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows):
        norms = _norms_in_range(rows)
        ctx.save_for_backward(rows, norms)
        return norms

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx, grad):
        rows, norms = ctx.saved_tensors
        return grad * (rows / torch.where(norms > 0, norms, 1))


def _norms_in_range(rows):
    precise = partial(torch.linalg.vector_norm, dim=-1, keepdim=True, dtype=torch.float64)
    # Only the CPU can choose rows without a synchronization, and a traced graph cannot choose.
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
    """|a|^2 + |b|^2 - 2 a.b, with the pairs that lose digits computed from a - b."""

    def __init__(self, references):
        self.offset = _few_bits(references.flatten(end_dim=-2).mean(0))
        self.references = references - self.offset
        self.norms = self.references.square().sum(-1)[..., None, :]

    def __call__(self, anchors):
        anchors = anchors - self.offset
        norms = anchors.square().sum(-1)[..., :, None]
        # In place, as memory that is asked for anew costs more than the sums.
        squared = (-2 * anchors) @ self.references.mT
        squared += norms
        squared += self.norms
        # Below this share of the norms, cancellation has cost a quarter of the digits.
        share = torch.finfo(squared.dtype).eps ** 0.25
        close = squared < share * (norms + self.norms.amax(-1, keepdim=True))
        for pairs in close.nonzero().split(_PAIRS_PER_CHUNK):
            *batch, row, column = pairs.unbind(1)
            differences = anchors[*batch, row] - self.references[*batch, column]
            squared[*batch, row, column] = differences.square().sum(-1)
        return squared


class _SquaredEuclidean(torch.autograd.Function):
    @staticmethod
    def forward(ctx, anchors, references):
        squared_distances = _SquaredDistances(references)
        ctx.save_for_backward(anchors - squared_distances.offset, squared_distances.references)
        return squared_distances(anchors)

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx, grad):
        anchors, references = ctx.saved_tensors
        grad_anchors = grad.sum(-1)[..., None] * anchors - grad @ references
        grad_references = grad.sum(-2)[..., None] * references - grad.mT @ anchors
        return 2 * grad_anchors, 2 * grad_references


def _few_bits(values):
    """Round to 8 significant bits, so that a shift by them leaves small integers exact."""
    mantissa, exponent = torch.frexp(values)
    return torch.ldexp((mantissa * 256).round() / 256, exponent)
