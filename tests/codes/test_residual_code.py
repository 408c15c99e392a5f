"""Product and residual codes against exhaustive references."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skperco.codes._residual_code import N_CENTROIDS, ResidualCode, beam_search
from skperco.codes._residual_training import train_residual_code

CPU = torch.device("cpu")


def random_code(shapes, seed, beam_width=1):
    """A code with random codebooks; shapes are (n_bytes, n_dimensions) of each group."""
    rng = np.random.default_rng(seed)
    codebooks = [
        rng.normal(size=(n_levels, N_CENTROIDS, width)).astype(np.float32)
        for n_levels, width in shapes
    ]
    weights = rng.uniform(0.2, 1, size=sum(width for _, width in shapes)).astype(np.float32)
    return ResidualCode.from_codebooks(codebooks, weights, beam_width)


def trained(embeddings, n_bytes, n_groups, beam_width=1, weights=None):
    n_rows, n_dimensions = embeddings.shape
    return train_residual_code(
        embeddings,
        n_bytes,
        n_groups,
        weights=np.ones(n_dimensions, dtype=np.float32) if weights is None else weights,
        beam_width=beam_width,
        sample_weight=np.ones(n_rows),
        random_state=np.random.RandomState(0),
        device=CPU,
    )


def rows_of(n, d, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, d)) * np.linspace(2, 0.5, d)).astype(np.float32)


@given(st.integers(0, 50))
@settings(max_examples=10)
def test_product_codes_are_the_centroids_of_each_group_with_the_least_weighted_error(seed):
    code = random_code([(1, 3), (1, 2)], seed)
    rows = rows_of(7, 5, seed)
    codes = code.encode(torch.from_numpy(rows)).numpy()
    start = 0
    for byte, codebook in enumerate(code.codebooks()):
        centroids = codebook[0].numpy()
        part = rows[:, start : start + centroids.shape[1]]
        weights = code.weights[start : start + centroids.shape[1]].numpy()
        distances = (((part[:, None] - centroids) * weights) ** 2).sum(2)
        np.testing.assert_array_equal(codes[:, byte], distances.argmin(1))
        start += centroids.shape[1]


@given(st.integers(0, 50))
@settings(max_examples=10)
def test_decoding_sums_the_centroids_of_each_group(seed):
    code = random_code([(2, 3), (1, 2)], seed)
    codes = np.random.default_rng(seed).integers(0, 256, size=(6, 3)).astype(np.uint8)
    first, second = (codebook.numpy() for codebook in code.codebooks())
    expected = [np.concatenate([first[0][a] + first[1][b], second[0][c]]) for a, b, c in codes]
    np.testing.assert_array_equal(code.decode(torch.from_numpy(codes)).numpy(), expected)


def test_a_beam_of_all_partial_codes_finds_the_best_pair_of_centroids():
    code = random_code([(2, 3)], 1)
    (codebook,) = code.codebooks()
    rows = torch.from_numpy(rows_of(5, 3))
    codes, residuals = beam_search(rows, codebook, beam_width=N_CENTROIDS)
    sums = (codebook[0][:, None] + codebook[1]).reshape(-1, 3)
    pairs = np.array(list(product(range(N_CENTROIDS), repeat=2)))
    best = torch.cdist(rows.double(), sums.double()).argmin(1)
    np.testing.assert_array_equal(codes[:, 0], pairs[best])
    torch.testing.assert_close(residuals[:, 0], rows - sums[best])


def test_wider_beams_do_not_increase_the_error():
    rows = rows_of(400, 8)
    _, code = trained(rows, 4, 1, beam_width=4)
    (codebook,) = code.codebooks()
    errors = [
        beam_search(torch.from_numpy(rows), codebook, width)[1][:, 0].square().sum().item()
        for width in (1, 8, 64)
    ]
    assert errors[0] >= errors[1] >= errors[2]


@pytest.mark.parametrize("n_groups", [1, 2, 4])
def test_more_bytes_decrease_the_error(n_groups):
    rows = rows_of(600, 8)
    errors = []
    for n_bytes in (4, 8):
        order, code = trained(rows, n_bytes, n_groups, beam_width=2)
        ordered = torch.from_numpy(rows[:, order])
        errors.append((ordered - code.decode(code.encode(ordered))).square().sum().item())
    assert errors[1] < 0.5 * errors[0]


def test_groups_are_columns_in_the_order_that_the_training_returns():
    rows = rows_of(300, 6)
    order, code = trained(rows, 3, 3)
    np.testing.assert_array_equal(np.sort(order), np.arange(6))
    ordered = torch.from_numpy(rows[:, order])
    decoded = code.decode(code.encode(ordered))
    assert (ordered - decoded).square().sum() < 0.2 * ordered.square().sum()


def test_dimensions_of_larger_weight_have_smaller_errors():
    rows = np.random.default_rng(0).normal(size=(600, 4)).astype(np.float32)
    weights = np.array([1, 1, 0.2, 0.2], dtype=np.float32)
    order, code = trained(rows, 2, 1, weights=weights)
    ordered = torch.from_numpy(rows[:, order])
    errors = (ordered - code.decode(code.encode(ordered))).square().mean(0).numpy()
    assert errors[weights[order] == 1].max() < 0.5 * errors[weights[order] < 1].min()


def test_few_distinct_rows_are_coded_without_error():
    rows = np.repeat(rows_of(20, 4), 3, axis=0)
    order, code = trained(rows, 2, 2)
    ordered = torch.from_numpy(rows[:, order])
    torch.testing.assert_close(code.decode(code.encode(ordered)), ordered)


def test_codes_of_one_row_are_those_of_the_same_row_among_others():
    rows = torch.from_numpy(rows_of(300, 6))
    code = random_code([(2, 4), (1, 2)], 3, beam_width=4)
    together = code.encode(rows)
    alone = torch.cat([code.encode(row[None]) for row in rows])
    assert (together == alone).float().mean() > 0.99
