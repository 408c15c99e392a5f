"""The two terms of the training loss, and the dissimilarities that they compare."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding_bag

from skperco.dissimilarity._dense import pairwise_dissimilarity, row_centered, unit_rows
from skperco.losses import rank_correlation_loss, rank_loss
from skperco.ranking._percentile import percentile_rank
from skperco.utils._global_settings import without_autocast

_ORDERS = {"euclidean": 2, "manhattan": 1}


class Comparison(NamedTuple):
    """Dissimilarities used in training, up to the transforms to which the losses are invariant.

    Both losses are invariant to an affine transform of all dissimilarities of an anchor.

    Attributes
    ----------
    normalize : callable
        Embeddings, of shape (n_rows, n_features), before they are compared.
    table : callable
        Normalized embeddings of anchors and of references to what the first see of the second, of
        shape (n_anchors, n_references).
    listed : callable
        Normalized embeddings, the numbers of anchors and those that each anchor has listed, of
        shape (n_anchors, n_listed), to what they see of these.
    """

    normalize: Callable
    table: Callable
    listed: Callable


def comparison_by(metric):
    """The dissimilarities that training uses for a metric; not for "precomputed"."""
    if metric in _DIRECTIONS:
        return Comparison(_DIRECTIONS[metric], _opposite_products, _opposite_listed_products)
    return Comparison(
        lambda embeddings: embeddings,
        partial(pairwise_dissimilarity, metric=metric),
        partial(listed_dissimilarity, metric=metric),
    )


def listed_dissimilarity(rows, anchors, listed, *, metric):
    """Dissimilarities of anchors to the rows in a list of each anchor.

    Parameters
    ----------
    rows : torch.Tensor of shape (n_rows, n_features)
    anchors : torch.Tensor of shape (n_anchors,), int64
        Their numbers.
    listed : torch.Tensor of shape (n_anchors, n_listed), int64
        The numbers of those that each anchor has listed.
    metric : {"euclidean", "manhattan", "sqeuclidean"} or callable
        A callable is called once for every anchor.

    Returns
    -------
    dissimilarities : torch.Tensor of shape (n_anchors, n_listed)
        To the digits that a training step needs: squared distances are not repaired where they
        cancel.
    """
    if metric == "sqeuclidean":
        norms = rows.square().sum(1)
        norms = norms[anchors][:, None] + norms[listed]
        return norms - 2 * _ListedProducts.apply(rows, anchors, listed)
    if callable(metric):
        seen = pairwise_dissimilarity(rows[anchors][:, None], rows[listed], metric=metric)
        return seen.squeeze(1)
    return torch.linalg.vector_norm(rows[anchors][:, None] - rows[listed], _ORDERS[metric], dim=-1)


_DIRECTIONS = {
    "cosine": unit_rows,
    "correlation": lambda embeddings: unit_rows(row_centered(embeddings)),
}


def _opposite_products(anchors, references):
    return anchors @ -references.T


def _opposite_listed_products(rows, anchors, listed):
    return -_ListedProducts.apply(rows, anchors, listed)


class _ListedProducts(torch.autograd.Function):
    """Inner products of rows with the rows in a list of each.

    The gradient is summed up row by row of the many that are listed, which costs a fraction of
    what it takes to go back through a copy of them.
    """

    @staticmethod
    def forward(ctx, rows, anchors, listed):
        looking = rows.index_select(0, anchors)
        ctx.save_for_backward(rows, anchors, listed, looking)
        # On the CPU faster than by the numbers as an index.
        seen = rows.index_select(0, listed.flatten()).unflatten(0, listed.shape)
        return (seen @ looking[:, :, None]).squeeze(-1)

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx, grad):
        rows, anchors, listed, looking = ctx.saved_tensors
        of_listed = grad[:, :, None] * looking[:, None]
        of_anchors = embedding_bag(listed, rows, per_sample_weights=grad.contiguous(), mode="sum")
        summed = torch.zeros_like(rows).index_add_(0, listed.flatten(), of_listed.flatten(0, 1))
        return summed.index_add_(0, anchors, of_anchors), None, None


# References that one step draws from the list of an anchor's nearest.
_NEAR_REFERENCES = 10
# A loss below this counts as zero: its logarithm must not outweigh the other loss.
_SMALLEST_LOSS = 1e-6


class GlobalTerm:
    """Global loss: ranks among random references, which are the same for all anchors.

    Parameters
    ----------
    teacher : Teacher
    comparison : Comparison
        Of the student's embeddings.
    pair : callable
        From the numbers of anchors to those of some of them and of their references.
    """

    def __init__(self, teacher, comparison, pair):
        self.teacher = teacher
        self.comparison = comparison
        self.pair = pair

    def draw(self, anchors):
        """Indices of anchors and references, and the target ranks."""
        anchors, references = self.pair(anchors)
        return (anchors, references), percentile_rank(self.teacher.order(anchors, references))

    def __call__(self, embeddings, places, target):
        """Logarithm of the loss of what has been drawn, by embeddings and where each is."""
        drawn = embeddings.index_select(0, torch.cat(places))
        seen = self.comparison.table(*drawn.split([len(part) for part in places]))
        return _log(rank_loss(seen, target, exact=False))


class LocalTerm:
    """Local loss: log ranks among references from the neighborhood of each anchor.

    Parameters
    ----------
    lists : tuple of torch.Tensor
        Numbers and log ranks of the nearest of all rows, as :meth:`Teacher.nearest` gives them.
    comparison : Comparison
        Of the student's embeddings.
    generator : torch.Generator
        On the CPU.
    """

    def __init__(self, lists, comparison, generator):
        self.neighbors, self.log_ranks = lists
        self.comparison = comparison
        self.generator = generator

    def draw(self, anchors):
        """Indices of anchors and of references of each, and the target log ranks."""
        n_listed = self.neighbors.shape[1]
        shape = (len(anchors), min(_NEAR_REFERENCES, n_listed))
        places = torch.randint(n_listed, shape, generator=self.generator).to(anchors.device)
        places += n_listed * anchors[:, None]
        return (anchors, self.neighbors.take(places)), self.log_ranks.take(places)

    def __call__(self, embeddings, places, target):
        """Logarithm of the loss of what has been drawn, by embeddings and where each is."""
        return _log(rank_correlation_loss(self.comparison.listed(embeddings, *places), target))


def _log(losses):
    return losses.mean().clamp(min=_SMALLEST_LOSS).log()
