import numpy as np
import pytest
import torch

from skperco.ranking._percentile import percentile_rank
from skperco.training._objective import GlobalTerm, LocalTerm, comparison_by
from skperco.training._teacher import Teacher

N_ROWS = 60


@pytest.fixture
def rows():
    return torch.randn(N_ROWS, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def teacher(rows):
    return Teacher(rows.numpy(), "cosine", torch.device("cpu"))


@pytest.fixture
def near(teacher):
    generator = torch.Generator().manual_seed(0)
    return LocalTerm(teacher.nearest(20), comparison_by("cosine"), generator)


@pytest.fixture
def far(teacher):
    return GlobalTerm(
        teacher, comparison_by("cosine"), lambda anchors: (anchors[:300], torch.arange(30))
    )


def test_local_term_draws_neighbors_of_its_anchors_and_their_ranks(teacher, near):
    anchors = torch.tensor([7, 3, 7])
    (same, listed), target = near.draw(anchors)
    neighbors, log_ranks = teacher.nearest(20)
    assert torch.equal(same, anchors)
    for anchor, numbers, ranks in zip(anchors, listed, target, strict=True):
        places = [neighbors[anchor].tolist().index(number) for number in numbers.tolist()]
        np.testing.assert_array_equal(log_ranks[anchor][places], ranks)
    assert not torch.equal(listed[0], listed[2])


def test_targets_of_the_global_term_are_the_ranks_of_the_teacher(rows, far):
    (anchors, references), target = far.draw(torch.arange(40, 50))
    cosines = torch.nn.functional.cosine_similarity(rows[anchors][:, None], rows[references], dim=2)
    torch.testing.assert_close(target, percentile_rank(-cosines))


def test_global_term_ranks_only_the_selected_anchors(far):
    (anchors, _), target = far.draw(torch.arange(40).repeat(10))
    assert len(anchors) == len(target) == 300
    assert torch.equal(anchors, torch.arange(40).repeat(10)[: len(anchors)])


@pytest.mark.parametrize("term", ["near", "far"])
def test_the_loss_of_the_teacher_itself_is_below_that_of_random_rows(rows, term, request):
    term = request.getfixturevalue(term)
    numbers, target = term.draw(torch.arange(N_ROWS))
    others = torch.randn(rows.shape, generator=torch.Generator().manual_seed(1))
    same, different = (
        term(torch.nn.functional.normalize(images), numbers, target) for images in (rows, others)
    )
    assert same < different - 1
