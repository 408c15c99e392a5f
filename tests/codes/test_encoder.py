"""The rotation before a code, and the scale of queries."""

import numpy as np

from skperco.codes._encoder import random_rotation, scale_of_queries


def test_random_rotations_are_orthogonal():
    rotation = random_rotation(6, np.random.RandomState(0))
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(6), atol=1e-6)


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
