import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skperco.dissimilarity._dense import METRICS, pairwise_dissimilarity
from skperco.training._objective import comparison_by

METRICS = sorted(set(METRICS) - {"precomputed"})
METRICS_AND_OTHERS = st.sampled_from([*METRICS, lambda a, b: torch.cdist(a, b, p=3)])
SEEDS = st.integers(0, 1000)


def embeddings_of(seed, n=9, d=5):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator, dtype=torch.float64)


def standardized(rows):
    """What an affine change of a row, by a positive factor, leaves as it is."""
    centered = rows - rows.mean(1, keepdim=True)
    return centered / centered.norm(dim=1, keepdim=True)


@given(SEEDS, METRICS_AND_OTHERS)
def test_tables_are_affine_in_the_dissimilarities(seed, metric):
    images, comparison = embeddings_of(seed), comparison_by(metric)
    normalized = comparison.normalize(images)
    found = comparison.pairwise(normalized[:4], normalized)
    expected = pairwise_dissimilarity(images[:4], images, metric=metric)
    np.testing.assert_allclose(standardized(found), standardized(expected), atol=1e-9)


@given(SEEDS, METRICS_AND_OTHERS)
def test_lists_are_affine_in_the_dissimilarities_of_the_pairs(seed, metric):
    images, comparison = embeddings_of(seed), comparison_by(metric)
    generator = torch.Generator().manual_seed(seed)
    anchors = torch.randint(9, (4,), generator=generator)
    listed = torch.stack([torch.randperm(9, generator=generator)[:4] for _ in anchors])
    found = comparison.gathered(comparison.normalize(images), anchors, listed)
    one_by_one = [
        pairwise_dissimilarity(images[anchor][None], images[others], metric=metric)
        for anchor, others in zip(anchors, listed, strict=True)
    ]
    np.testing.assert_allclose(standardized(found), standardized(torch.cat(one_by_one)), atol=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "correlation", "sqeuclidean"])
def test_gradient_of_lists(metric):
    """With a row that is listed twice, and by several, itself among them."""
    images, comparison = embeddings_of(0, n=6).requires_grad_(), comparison_by(metric)
    anchors, listed = torch.tensor([0, 3, 0]), torch.tensor([[1, 1, 2], [3, 4, 1], [5, 0, 2]])
    assert torch.autograd.gradcheck(
        lambda images: comparison.gathered(comparison.normalize(images), anchors, listed), images
    )
