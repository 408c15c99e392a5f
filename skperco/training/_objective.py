"""The two terms of the training loss, and the dissimilarities that they compare."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding_bag

from skperco.dissimilarity._dense import pairwise_dissimilarity, row_centered, unit_rows
from skperco.losses import rank_correlation_loss, rank_loss
from skperco.ranking._percentile import percentile_rank
from skperco.utils._global_settings import without_autocast
from skperco.utils._types import Metric

_ORDERS = {"euclidean": 2, "manhattan": 1}


class Comparison(NamedTuple):
    """Dissimilarities used in training, up to the transforms to which the losses are invariant.

    Both losses are invariant to an increasing affine transform of all dissimilarities of an anchor.

    Attributes
    ----------
    normalize : callable
        Applied to embeddings, of shape (n_rows, n_features), before they are compared.
    pairwise : callable
        From normalized embeddings of anchors and of references to the matrix of their
        dissimilarities, of shape (n_anchors, n_references).
    gathered : callable
        From normalized embeddings, indices of anchors, of shape (n_anchors,), and indices of the
        references of each anchor, of shape (n_anchors, n_references), to the dissimilarities of
        each anchor to its own references.
    """

    normalize: Callable[[torch.Tensor], torch.Tensor]
    pairwise: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    gathered: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def comparison_by(metric: Metric) -> Comparison:
    """The dissimilarities that training uses for a metric; not for "precomputed"."""
    if metric in _NORMALIZATIONS:
        return Comparison(_NORMALIZATIONS[metric], _negative_products, _negative_gathered_products)
    return Comparison(
        lambda embeddings: embeddings,
        partial(pairwise_dissimilarity, metric=metric),
        partial(gathered_dissimilarity, metric=metric),
    )


def gathered_dissimilarity(
    rows: torch.Tensor,
    anchors: torch.Tensor,
    references: torch.Tensor,
    *,
    metric: Metric,
) -> torch.Tensor:
    """Dissimilarities of each anchor to its own references.

    Parameters
    ----------
    rows : torch.Tensor of shape (n_rows, n_features)
    anchors : torch.Tensor of shape (n_anchors,), int64
        Indices of rows.
    references : torch.Tensor of shape (n_anchors, n_references), int64
        Indices of the references of each anchor.
    metric : {"euclidean", "manhattan", "sqeuclidean"} or callable
        A callable is called once for every anchor.

    Returns
    -------
    dissimilarities : torch.Tensor of shape (n_anchors, n_references)
        As accurate as a training step needs: squared distances are not corrected for
        cancellation.
    """
    if metric == "sqeuclidean":
        norms = rows.square().sum(1)
        norms = norms[anchors][:, None] + norms[references]
        return norms - 2 * _GatheredProducts.apply(rows, anchors, references)
    if callable(metric):
        pairs = rows[anchors][:, None], rows[references]
        return pairwise_dissimilarity(*pairs, metric=metric).squeeze(1)
    differences = rows[anchors][:, None] - rows[references]
    return torch.linalg.vector_norm(differences, _ORDERS[metric], dim=-1)


_NORMALIZATIONS: dict[Metric, Callable[[torch.Tensor], torch.Tensor]] = {
    "cosine": unit_rows,
    "correlation": lambda embeddings: unit_rows(row_centered(embeddings)),
}


def _negative_products(anchors: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
    return anchors @ -references.T


def _negative_gathered_products(
    rows: torch.Tensor, anchors: torch.Tensor, references: torch.Tensor
) -> torch.Tensor:
    return -_GatheredProducts.apply(rows, anchors, references)


class _GatheredProducts(torch.autograd.Function):
    """Inner products of each anchor with its own references.

    The backward pass accumulates the gradient row by row, which costs a fraction of the backward
    pass through a copy of all references.
    """

    @staticmethod
    def forward(
        ctx: Any, rows: torch.Tensor, anchors: torch.Tensor, references: torch.Tensor
    ) -> torch.Tensor:
        anchor_rows = rows.index_select(0, anchors)
        ctx.save_for_backward(rows, anchors, references, anchor_rows)
        # On the CPU index_select is faster than indexing.
        reference_rows = rows.index_select(0, references.flatten()).unflatten(0, references.shape)
        return (reference_rows @ anchor_rows[:, :, None]).squeeze(-1)

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        rows, anchors, references, anchor_rows = ctx.saved_tensors
        grad_references = grad[:, :, None] * anchor_rows[:, None]
        grad_anchors = embedding_bag(
            references, rows, per_sample_weights=grad.contiguous(), mode="sum"
        )
        grad_rows = torch.zeros_like(rows)
        grad_rows.index_add_(0, references.flatten(), grad_references.flatten(0, 1))
        return grad_rows.index_add_(0, anchors, grad_anchors), None, None


# Number of references that a step draws from the nearest neighbors of an anchor.
_LOCAL_REFERENCES = 10
# A loss below this counts as zero: its logarithm must not outweigh the other loss.
_SMALLEST_LOSS = 1e-6

Indices = Sequence[torch.Tensor]


class GlobalTerm:
    """Global loss: ranks among random references, which are the same for all anchors.

    Parameters
    ----------
    order : callable
        From indices of anchors and references to values in the order of the teacher's
        dissimilarities, as :meth:`Teacher.order`.
    comparison : Comparison
        Of the student's embeddings.
    draw_pair : callable
        From indices of anchors to indices of some of them and of their references.
    """

    def __init__(
        self,
        order: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        comparison: Comparison,
        draw_pair: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
    ):
        self.order = order
        self.comparison = comparison
        self.draw_pair = draw_pair

    def draw(self, anchors: torch.Tensor) -> tuple[Indices, torch.Tensor]:
        """Indices of anchors and references, and the target ranks."""
        anchors, references = self.draw_pair(anchors)
        return (anchors, references), percentile_rank(self.order(anchors, references))

    def __call__(
        self, embeddings: torch.Tensor, positions: Indices, target: torch.Tensor
    ) -> torch.Tensor:
        """Logarithm of the loss, given embeddings and the positions of the drawn rows in them."""
        drawn = embeddings.index_select(0, torch.cat(list(positions)))
        anchors, references = drawn.split([len(part) for part in positions])
        dissimilarities = self.comparison.pairwise(anchors, references)
        return _log(rank_loss(dissimilarities, target, exact=False))


class LocalTerm:
    """Local loss: log ranks among references from the neighborhood of each anchor.

    Parameters
    ----------
    nearest : tuple of torch.Tensor
        Indices and log ranks of the nearest neighbors of all rows, as from
        :meth:`Teacher.nearest`.
    comparison : Comparison
        Of the student's embeddings.
    generator : torch.Generator
        On the CPU.
    """

    def __init__(
        self,
        nearest: tuple[torch.Tensor, torch.Tensor],
        comparison: Comparison,
        generator: torch.Generator,
    ):
        self.neighbors, self.log_ranks = nearest
        self.comparison = comparison
        self.generator = generator

    def draw(self, anchors: torch.Tensor) -> tuple[Indices, torch.Tensor]:
        """Indices of anchors and of references of each, and the target log ranks."""
        n_neighbors = self.neighbors.shape[1]
        shape = (len(anchors), min(_LOCAL_REFERENCES, n_neighbors))
        flat = torch.randint(n_neighbors, shape, generator=self.generator).to(anchors.device)
        flat += n_neighbors * anchors[:, None]
        return (anchors, self.neighbors.take(flat)), self.log_ranks.take(flat)

    def __call__(
        self, embeddings: torch.Tensor, positions: Indices, target: torch.Tensor
    ) -> torch.Tensor:
        """Logarithm of the loss, given embeddings and the positions of the drawn rows in them."""
        dissimilarities = self.comparison.gathered(embeddings, *positions)
        return _log(rank_correlation_loss(dissimilarities, target))


def _log(losses: torch.Tensor) -> torch.Tensor:
    return losses.mean().clamp(min=_SMALLEST_LOSS).log()
