import numpy as np
import pytest
import torch

from skperco.metrics._representations import Representations, with_own, without_own


def teacher_and_student(n=50, sample_weight=None):
    rows = np.random.default_rng(0).normal(size=(n, 3))
    pair = {"teacher": (rows, "euclidean"), "student": (rows[:, :2], "cosine")}
    return Representations(pair, sample_weight, "cpu"), rows


@pytest.mark.parametrize("n_references", [50, 20])
def test_blocks_hold_dissimilarities_of_each_anchor_to_all_other_references(
    n_references, monkeypatch
):
    monkeypatch.setattr("skperco.metrics._representations._ENTRIES_PER_BLOCK", 9 * n_references)
    pair, rows = teacher_and_student()
    references = np.random.default_rng(1).permutation(50)[:n_references]
    anchors = np.arange(0, 50, 2)
    n_blocks_of_anchor = np.zeros(len(anchors))
    for block in pair.map_blocks(lambda block: block, anchors, references):
        n_blocks_of_anchor[block.positions] += 1
        for position, own, found in zip(
            block.positions, block.own, block.dissimilarities[0], strict=True
        ):
            others = np.delete(references, own) if own >= 0 else references
            assert own < 0 or references[own] == anchors[position]
            expected = np.linalg.norm(rows[others] - rows[anchors[position]], axis=1)
            np.testing.assert_allclose(found, expected)
    assert (n_blocks_of_anchor == 1).all()


def test_weights_of_blocks_are_those_of_the_references_or_none_if_equal():
    weights = np.random.default_rng(0).integers(0, 3, size=50).astype(float)
    pair, _ = teacher_and_student(sample_weight=weights)
    samples = np.arange(pair.n_samples)
    assert pair.n_samples == (weights > 0).sum()
    for block in pair.map_blocks(lambda block: block, samples, samples):
        for own, found in zip(block.own, block.weights, strict=True):
            np.testing.assert_array_equal(found, np.delete(weights[weights > 0], own))
    pair, _ = teacher_and_student(sample_weight=np.full(50, 0.3))
    assert pair.map_blocks(lambda block: block.weights, samples[:3], samples[:9]) == [None]


def test_with_own_undoes_without_own_except_for_zeros():
    values = torch.arange(12.0).view(3, 4)
    own = np.array([0, 2, 3])
    dropped = without_own(values, own)
    assert dropped.tolist() == [[1, 2, 3], [4, 5, 7], [8, 9, 10]]
    back = with_own(dropped, own)
    expected = values.clone()
    expected[[0, 1, 2], own] = 0
    assert torch.equal(back, expected)
