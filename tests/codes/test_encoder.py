"""The rotation before a code, and the scale of queries."""

import numpy as np

from skperco.codes._encoder import principal_rotation, random_rotation, scale_of_queries


def test_columns_are_uncorrelated_after_the_rotation_in_descending_order():
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(300, 5)) @ rng.normal(size=(5, 5)) + 3).astype(np.float32)
    weight = rng.integers(1, 4, size=300).astype(float)
    for center in (False, True):
        offset, rotation = principal_rotation(rows, weight, center=center)
        np.testing.assert_allclose(rotation.T @ rotation, np.eye(5), atol=1e-9)
        rotated = (rows - offset) @ rotation
        moments = rotated.T @ (weight[:, None] * rotated)
        np.testing.assert_allclose(moments - np.diag(np.diag(moments)), 0, atol=1e-2)
        assert (np.diff(np.diag(moments)) <= 0).all()
        if center:
            np.testing.assert_allclose(weight @ rotated, 0, atol=1e-2)
        else:
            assert not offset.any()


def test_random_rotations_are_orthogonal():
    rotation = random_rotation(6, np.random.RandomState(0))
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(6), atol=1e-12)


def test_the_scale_of_queries_brings_distances_nearer_to_the_order_of_cosines():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2000, 8)) + 0.5
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    decoded = rows * rng.uniform(0.85, 1, size=(2000, 1))
    queries = rows[:100]
    products, norms = queries @ decoded.T, np.linalg.norm(decoded, axis=1)

    def neighbors(scores):
        return np.argsort(-scores, axis=1)[:, :10]

    def shared(scale):
        found = neighbors(2 * scale * products - norms**2)
        pairs = zip(found, neighbors(products / norms), strict=True)
        return np.mean([len(np.intersect1d(*pair)) / 10 for pair in pairs])

    scale = scale_of_queries(queries, decoded)
    assert shared(scale) > max(shared(0.5 * scale), shared(3 * scale))
