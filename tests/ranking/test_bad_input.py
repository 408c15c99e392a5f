import numpy as np
import pytest
import torch

from skperco import percentile_rank, soft_percentile_rank

both = pytest.mark.parametrize("rank", [percentile_rank, soft_percentile_rank])


@both
@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        (np.ones((3, 4)), TypeError, "dissimilarities must be a torch.Tensor, got ndarray"),
        (torch.ones(4), ValueError, r"dissimilarities must be a dense matrix.* shape \(4,\)"),
        (torch.ones(2, 3, 4), ValueError, r"dissimilarities must be .* shape \(2, 3, 4\)"),
        (torch.ones(3, 4).to_sparse(), ValueError, "dissimilarities must be a dense matrix"),
        (torch.ones(3, 0), ValueError, r"dissimilarities must have .* column.* shape \(3, 0\)"),
    ],
)
def test_ranks_of_anything_but_a_dense_matrix_raise_an_error(rank, table, error, message):
    with pytest.raises(error, match=message):
        rank(table)


@both
@pytest.mark.parametrize(
    "dtype",
    [torch.float16, torch.bfloat16, torch.int8, torch.int64, torch.bool, torch.complex64],
    ids=str,
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_ranks_of_other_dtypes_than_float32_and_float64_raise_an_error(rank, dtype, device):
    with pytest.raises(TypeError, match=f"dissimilarities must be float32 or .*{dtype}"):
        rank(torch.ones(3, 4, dtype=dtype, device=device))


@both
def test_weights_on_another_device_raise_an_error(rank):
    with pytest.raises(ValueError, match="dissimilarities and weights must be on one device"):
        rank(torch.ones(3, 4), weights=torch.ones(4, device="meta"))


@both
@pytest.mark.parametrize(
    "shape", [(), (1,), (3,), (5,), (2, 4), (3, 1), (4, 3), (1, 3, 4)], ids=str
)
def test_weights_of_another_shape_raise_an_error(rank, shape):
    with pytest.raises(ValueError, match=r"weights must .*\(" + ", ".join(map(str, shape))):
        rank(torch.ones(3, 4), weights=torch.ones(shape))


@both
@pytest.mark.parametrize("shape", [(4,), (1, 4), (3, 4)], ids=str)
def test_negative_weights_raise_an_error(rank, shape):
    weights = torch.ones(shape)
    weights[..., 2] = -0.5
    with pytest.raises(ValueError, match=r"weights must not be negative, got -0\.5"):
        rank(torch.ones(3, 4), weights=weights)


@pytest.mark.parametrize(
    ("bandwidth", "error"),
    [(-1.0, ValueError), (np.nan, ValueError), ("0.1", TypeError), (None, TypeError)],
)
def test_a_bandwidth_that_is_no_width_raises_an_error(bandwidth, error):
    with pytest.raises(error, match="bandwidth must be"):
        soft_percentile_rank(torch.ones(3, 4), bandwidth=bandwidth)


@pytest.mark.parametrize(
    ("scale", "error"),
    [
        (-1.0, ValueError),
        (np.nan, ValueError),
        ("std", TypeError),
        (np.ones((3, 1)), TypeError),
        (torch.ones(3), ValueError),
        (torch.ones(4, 1), ValueError),
        (torch.ones(3, 4), ValueError),
    ],
    ids=str,
)
def test_a_scale_that_is_no_column_of_widths_raises_an_error(scale, error):
    with pytest.raises(error, match="scale must be"):
        soft_percentile_rank(torch.ones(3, 4), scale=scale)
