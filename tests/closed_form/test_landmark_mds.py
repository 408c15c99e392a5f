import numpy as np
import pytest
import references
from builders import rows_of
from hypothesis import given
from hypothesis import strategies as st

from skperco.closed_form._landmark_mds import landmark_mds, teacher_coordinates

SEEDS = st.integers(0, 1000)


def indexing(matrix):
    """A function from indices of rows and columns to the entries of a matrix."""
    return lambda rows, columns: matrix[np.ix_(rows, columns)]


@given(SEEDS, st.integers(1, 5), st.integers(5, 9))
def test_mds_reproduces_euclidean_distances(seed, n_true, n_dimensions):
    matrix = references.table(rows_of(seed, n=20, d=n_true), "euclidean")
    landmarks = np.random.default_rng(seed).permutation(20)
    found = landmark_mds(indexing(matrix), landmarks, len(matrix), n_dimensions)[:]
    assert found.shape[1] == n_dimensions
    assert not found[:, n_true:].any()
    np.testing.assert_allclose(references.table(found, "euclidean"), matrix, atol=1e-5)


def test_mds_places_other_rows_by_their_distances_to_landmarks():
    matrix = references.table(rows_of(0, d=4), "euclidean")
    found = landmark_mds(indexing(matrix), np.arange(0, 60, 6), 60, 6)[:]
    np.testing.assert_allclose(references.table(found, "euclidean"), matrix, atol=1e-5)


def test_mds_of_zero_dissimilarities_is_one_point():
    found = landmark_mds(indexing(np.zeros((8, 8))), np.arange(8), 8, 3)[:]
    assert (found == 0).all()
    assert len(found) == 8


@given(SEEDS, st.sampled_from(["cosine", "correlation", "euclidean", "sqeuclidean"]))
def test_coordinates_reproduce_the_dissimilarities_of_named_metrics(seed, metric):
    rows = rows_of(seed, n=15) + 0.01
    found = teacher_coordinates(rows, metric, np.ones(15), np.random.RandomState(0), "cpu")[:]
    expected = references.table(rows, metric)
    if metric != "euclidean":
        expected = np.sqrt(expected if metric == "sqeuclidean" else 2 * expected)
    np.testing.assert_allclose(references.table(found, "euclidean"), expected, atol=1e-6)


@pytest.mark.parametrize("given_as", ["matrix", "callable"])
def test_coordinates_reproduce_precomputed_and_callable_dissimilarities(given_as):
    rows = rows_of(0, d=4)
    matrix = references.table(rows, "euclidean")
    teacher = (matrix, "precomputed") if given_as == "matrix" else (rows, norms_of_differences)
    found = teacher_coordinates(*teacher, np.ones(60), np.random.RandomState(0), "cpu")[:]
    np.testing.assert_allclose(references.table(found, "euclidean"), matrix, atol=1e-5)


def norms_of_differences(anchors, references):
    return (anchors[:, None] - references).norm(dim=2)
