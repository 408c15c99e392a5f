import numpy as np
import pytest
import references
import scipy.sparse as sp
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from skperco.dissimilarity._table import dissimilarity_table
from skperco.training._teacher import Teacher

CPU = torch.device("cpu")
METRICS = st.sampled_from(["cosine", "correlation", "euclidean", "manhattan", "sqeuclidean"])
SEEDS = st.integers(0, 1000)


def embeddings(seed, n=25, d=4):
    return np.random.default_rng(seed).normal(size=(n, d))


def asymmetric_table(seed, n=25):
    """An asymmetric dissimilarity matrix."""
    return np.random.default_rng(seed).uniform(size=(n, n))


def brute_force_nearest(table, n_neighbors):
    others = table + np.diag(np.full(len(table), np.inf))
    return np.argsort(np.asarray(others), axis=1)[:, :n_neighbors]


def assert_nearest(found, table):
    # Differences below the resolution of single precision can change the order.
    assume(np.diff(np.sort(table)).min() > 1e-6)
    neighbors, log_ranks = found
    n_neighbors = neighbors.shape[1]
    order = np.argsort(log_ranks.numpy(), axis=1)
    nearest_first = np.take_along_axis(neighbors.numpy(), order, axis=1)
    np.testing.assert_array_equal(nearest_first, brute_force_nearest(table, n_neighbors))
    ranks = (np.arange(n_neighbors) + 0.5) / n_neighbors
    np.testing.assert_allclose(np.sort(log_ranks), np.log([ranks] * len(table)), atol=1e-6)


@given(SEEDS, METRICS, st.integers(1, 24))
def test_nearest_equals_brute_force(seed, metric, n_neighbors):
    rows = embeddings(seed)
    found = Teacher(rows, metric, CPU).nearest(n_neighbors)
    assert_nearest(found, references.table(rows, metric))


@given(SEEDS, st.integers(1, 24))
def test_nearest_by_precomputed_dissimilarities_equals_brute_force(seed, n_neighbors):
    table = asymmetric_table(seed)
    assert_nearest(Teacher(table, "precomputed", CPU).nearest(n_neighbors), table)


@pytest.mark.parametrize("metric", ["cosine", "precomputed"])
def test_nearest_does_not_depend_on_the_block_size(metric, monkeypatch):
    representation = asymmetric_table(0)
    whole = Teacher(representation, metric, CPU).nearest(5)
    monkeypatch.setattr("skperco.training._teacher._ENTRIES_PER_BLOCK", 7 * 25)
    for part, expected in zip(Teacher(representation, metric, CPU).nearest(5), whole, strict=True):
        assert torch.equal(part, expected)


def test_a_row_is_not_its_own_neighbor_but_its_duplicate_is():
    rows = np.concatenate([embeddings(0), embeddings(0)])
    neighbors, _ = Teacher(rows, "euclidean", CPU).nearest(1)
    np.testing.assert_array_equal(neighbors[:, 0], (np.arange(50) + 25) % 50)


def test_nearest_does_not_modify_precomputed_dissimilarities():
    table = asymmetric_table(0).astype(np.float32)
    Teacher(table, "precomputed", CPU).nearest(3)
    np.testing.assert_array_equal(table, asymmetric_table(0).astype(np.float32))


@given(SEEDS, METRICS)
def test_dissimilarity_table_equals_the_formulas(seed, metric):
    rows = embeddings(seed)
    found = dissimilarity_table(rows, metric, slice(3), np.array([7, 0, 1]), device="cpu")
    np.testing.assert_allclose(found, references.table(rows, metric)[:3][:, [7, 0, 1]], atol=1e-12)


def test_precomputed_dissimilarities_are_indexed_by_rows_and_columns():
    table = asymmetric_table(0)
    found = dissimilarity_table(
        table, "precomputed", np.array([4, 2]), np.array([7, 0, 1]), device="cpu"
    )
    np.testing.assert_array_equal(found, table[[4, 2]][:, [7, 0, 1]])
    assert found.dtype == torch.float64


@given(SEEDS, METRICS)
def test_order_of_the_teacher_is_that_of_the_dissimilarities(seed, metric):
    rows = embeddings(seed)
    anchors, others = torch.tensor([3, 1]), torch.tensor([3, 20, 9, 5])
    found = Teacher(rows, metric, CPU).order(anchors, others)
    expected = references.table(rows, metric)[anchors][:, others]
    assume(np.diff(np.sort(expected)).min() > 1e-5)
    np.testing.assert_array_equal(found.argsort(1), expected.argsort(1))


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "manhattan", "precomputed"])
@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
def test_without_indices_all_rows_are_references(metric, layout):
    if layout is sp.csr_array and metric == "precomputed":
        pytest.skip("precomputed dissimilarities are dense")
    rows = asymmetric_table(0) if metric == "precomputed" else embeddings(0)
    teacher, anchors = Teacher(layout(rows), metric, CPU), torch.tensor([3, 1])
    expected = teacher.order(anchors, torch.arange(len(rows)))
    torch.testing.assert_close(teacher.order(anchors), expected)


@given(SEEDS)
def test_order_of_a_precomputed_teacher_is_its_dissimilarities(seed):
    table = asymmetric_table(seed)
    anchors, others = torch.tensor([3, 1]), torch.tensor([3, 20, 9])
    found = Teacher(table, "precomputed", CPU).order(anchors, others)
    np.testing.assert_allclose(found, table[anchors][:, others], atol=1e-6)


@given(SEEDS, st.sampled_from(["cosine", "euclidean", "precomputed"]), st.integers(1, 9))
def test_nearest_of_a_subset_equals_brute_force(seed, metric, n_neighbors):
    representation = asymmetric_table(seed) if metric == "precomputed" else embeddings(seed)
    kept = np.random.default_rng(seed).permutation(25)[:15]
    part = representation[kept]
    part = part[:, kept] if metric == "precomputed" else part
    whole = Teacher(representation, metric, CPU)
    found = whole.take(kept).nearest(n_neighbors)
    expected = part if metric == "precomputed" else references.table(part, metric)
    assert_nearest(found, expected)


def test_a_subset_reuses_the_neighbors_of_the_whole(monkeypatch):
    whole = Teacher(embeddings(0, n=400), "cosine", CPU)
    whole.nearest(60)
    part = whole.take(np.arange(40, 400))
    monkeypatch.setattr(Teacher, "_search", None)
    assert part.nearest(30)[0].shape == (360, 30)
    assert part.nearest(10)[0].max() < 360
