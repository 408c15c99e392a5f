import numpy as np
import pytest
import torch

from skperco.metrics._anchor_blocks import Views, with_own, without_own


def views_of(n=50, **options):
    rows = np.random.default_rng(0).normal(size=(n, 3))
    given = {"teacher": (rows, "euclidean"), "student": (rows[:, :2], "cosine")}
    return Views(given, options.get("sample_weight"), "cpu"), rows


@pytest.mark.parametrize("n_references", [50, 20])
def test_every_anchor_sees_all_references_but_itself(n_references, monkeypatch):
    monkeypatch.setattr("skperco.metrics._anchor_blocks._ENTRIES_PER_BLOCK", 9 * n_references)
    views, rows = views_of()
    references = np.random.default_rng(1).permutation(50)[:n_references]
    anchors = np.arange(0, 50, 2)
    met = np.zeros(len(anchors))
    for block in views.look(lambda block: block, anchors, references):
        met[block.positions] += 1
        for place, own, seen in zip(
            block.positions, block.own, block.dissimilarities[0], strict=True
        ):
            others = np.delete(references, own) if own >= 0 else references
            assert own < 0 or references[own] == anchors[place]
            expected = np.linalg.norm(rows[others] - rows[anchors[place]], axis=1)
            np.testing.assert_allclose(seen, expected)
    assert (met == 1).all()


def test_weights_are_those_of_the_references_and_none_if_equal():
    weights = np.random.default_rng(0).integers(0, 3, size=50).astype(float)
    views, _ = views_of(sample_weight=weights)
    everyone = np.arange(views.n_samples)
    assert views.n_samples == (weights > 0).sum()
    for block in views.look(lambda block: block, everyone, everyone):
        for own, seen in zip(block.own, block.weights, strict=True):
            np.testing.assert_array_equal(seen, np.delete(weights[weights > 0], own))
    views, _ = views_of(sample_weight=np.full(50, 0.3))
    assert views.look(lambda block: block.weights, everyone[:3], everyone[:9]) == [None]


def test_own_entries_are_dropped_and_put_back():
    values = torch.arange(12.0).view(3, 4)
    own = np.array([0, 2, 3])
    dropped = without_own(values, own)
    assert dropped.tolist() == [[1, 2, 3], [4, 5, 7], [8, 9, 10]]
    back = with_own(dropped, own)
    expected = values.clone()
    expected[[0, 1, 2], own] = 0
    assert torch.equal(back, expected)
