import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skperco.dissimilarity._dense import METRICS, pairwise_dissimilarity
from skperco.ranking._percentile import percentile_rank
from skperco.training._objective import GlobalTerm, LocalTerm, comparison_by
from skperco.training._teacher import Teacher

N_ROWS = 60
METRICS = sorted(set(METRICS) - {"precomputed"})
METRICS_AND_CALLABLE = st.sampled_from([*METRICS, lambda a, b: torch.cdist(a, b, p=3)])
SEEDS = st.integers(0, 1000)


def embeddings_of(seed, n=9, d=5):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator, dtype=torch.float64)


def standardized(rows):
    """Rows with mean zero and unit norm, which no positive affine transform changes."""
    centered = rows - rows.mean(1, keepdim=True)
    return centered / centered.norm(dim=1, keepdim=True)


@pytest.fixture
def rows():
    return torch.randn(N_ROWS, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def teacher(rows):
    return Teacher(rows.numpy(), "cosine", torch.device("cpu"))


@pytest.fixture
def local_term(teacher):
    generator = torch.Generator().manual_seed(0)
    return LocalTerm(teacher.nearest(20), comparison_by("cosine"), generator)


@pytest.fixture
def global_term(teacher):
    return GlobalTerm(
        teacher.order, comparison_by("cosine"), lambda anchors: (anchors[:300], torch.arange(30))
    )


def test_local_term_draws_neighbors_of_its_anchors_and_their_ranks(teacher, local_term):
    anchors = torch.tensor([7, 3, 7])
    (same, references), target = local_term.draw(anchors)
    neighbors, log_ranks = teacher.nearest(20)
    assert torch.equal(same, anchors)
    for anchor, indices, ranks in zip(anchors, references, target, strict=True):
        positions = [neighbors[anchor].tolist().index(index) for index in indices.tolist()]
        np.testing.assert_array_equal(log_ranks[anchor][positions], ranks)
    assert not torch.equal(references[0], references[2])


def test_targets_of_the_global_term_are_the_ranks_of_the_teacher(rows, global_term):
    (anchors, references), target = global_term.draw(torch.arange(40, 50))
    cosines = torch.nn.functional.cosine_similarity(rows[anchors][:, None], rows[references], dim=2)
    torch.testing.assert_close(target, percentile_rank(-cosines))


def test_global_term_ranks_only_the_selected_anchors(global_term):
    (anchors, _), target = global_term.draw(torch.arange(40).repeat(10))
    assert len(anchors) == len(target) == 300
    assert torch.equal(anchors, torch.arange(40).repeat(10)[: len(anchors)])


@pytest.mark.parametrize("term", ["local_term", "global_term"])
def test_the_loss_of_the_teacher_itself_is_below_that_of_random_rows(rows, term, request):
    term = request.getfixturevalue(term)
    indices, target = term.draw(torch.arange(N_ROWS))
    others = torch.randn(rows.shape, generator=torch.Generator().manual_seed(1))
    same, different = (
        term(torch.nn.functional.normalize(embeddings), indices, target)
        for embeddings in (rows, others)
    )
    assert same < different - 1


@given(SEEDS, METRICS_AND_CALLABLE)
def test_pairwise_comparisons_are_affine_in_the_dissimilarities(seed, metric):
    embeddings, comparison = embeddings_of(seed), comparison_by(metric)
    normalized = comparison.normalize(embeddings)
    found = comparison.pairwise(normalized[:4], normalized)
    expected = pairwise_dissimilarity(embeddings[:4], embeddings, metric=metric)
    np.testing.assert_allclose(standardized(found), standardized(expected), atol=1e-9)


@given(SEEDS, METRICS_AND_CALLABLE)
def test_gathered_comparisons_are_affine_in_the_dissimilarities(seed, metric):
    embeddings, comparison = embeddings_of(seed), comparison_by(metric)
    generator = torch.Generator().manual_seed(seed)
    anchors = torch.randint(9, (4,), generator=generator)
    references = torch.stack([torch.randperm(9, generator=generator)[:4] for _ in anchors])
    found = comparison.gathered(comparison.normalize(embeddings), anchors, references)
    one_by_one = [
        pairwise_dissimilarity(embeddings[anchor][None], embeddings[others], metric=metric)
        for anchor, others in zip(anchors, references, strict=True)
    ]
    np.testing.assert_allclose(standardized(found), standardized(torch.cat(one_by_one)), atol=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "correlation", "sqeuclidean"])
def test_gradient_of_gathered_comparisons(metric):
    """Some rows are references several times, of several anchors and of themselves."""
    embeddings, comparison = embeddings_of(0, n=6).requires_grad_(), comparison_by(metric)
    anchors, references = torch.tensor([0, 3, 0]), torch.tensor([[1, 1, 2], [3, 4, 1], [5, 0, 2]])
    assert torch.autograd.gradcheck(
        lambda embeddings: comparison.gathered(
            comparison.normalize(embeddings), anchors, references
        ),
        embeddings,
    )
