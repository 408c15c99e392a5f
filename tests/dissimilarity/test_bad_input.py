import pytest
import torch
from builders import METRIC_NAMES, random_matrix

from skperco import pairwise_dissimilarity


def minkowski(anchors, references):
    return torch.cdist(anchors, references, p=3)


ROWS = random_matrix(5, 3, torch.float32)
metrics = pytest.mark.parametrize("metric", [*METRIC_NAMES, minkowski], ids=str)


@metrics
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize(
    "bad",
    [
        ROWS.numpy(),
        ROWS.tolist(),
        None,
        ROWS.double(),
        ROWS.half(),
        ROWS.long(),
        ROWS[0],
        ROWS[:, :2],
        ROWS[None],
        ROWS.to_sparse(),
        ROWS.to("meta"),
    ],
    ids=[
        "array",
        "list",
        "None",
        "double",
        "half",
        "integers",
        "vector",
        "features",
        "batch",
        "sparse",
        "device",
    ],
)
def test_anchors_and_references_that_cannot_be_compared_raise_an_error(metric, side, bad):
    given = [ROWS, ROWS]
    given[side] = bad
    with pytest.raises((TypeError, ValueError), match=r"^(anchors|references).* (must|may)"):
        pairwise_dissimilarity(*given, metric=metric)


@metrics
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64], ids=str)
def test_rows_that_are_no_floating_point_numbers_raise_an_error(metric, dtype):
    rows = ROWS.to(dtype)
    with pytest.raises(TypeError, match=f"floating-point dtype, got .*{dtype}"):
        pairwise_dissimilarity(rows, rows, metric=metric)


@metrics
def test_rows_without_features_raise_an_error(metric):
    with pytest.raises(ValueError, match=r"anchors must be .* shape \(5, 0\)"):
        pairwise_dissimilarity(ROWS[:, :0], ROWS[:, :0], metric=metric)


@pytest.mark.parametrize("bad", [ROWS.numpy(), ROWS[0], ROWS[None], ROWS.to_sparse()])
def test_precomputed_rows_that_are_no_dense_matrix_raise_an_error(bad):
    with pytest.raises((TypeError, ValueError), match=r"^anchors must be a"):
        pairwise_dissimilarity(bad, None, metric="precomputed")


@pytest.mark.parametrize("metric", METRIC_NAMES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_computed_in_single_precision(metric, dtype):
    rows = ROWS.to(dtype).requires_grad_()
    found = pairwise_dissimilarity(rows, rows.detach(), metric=metric)
    single = rows.detach().float()
    expected = pairwise_dissimilarity(single, single, metric=metric).to(dtype)
    torch.testing.assert_close(found.detach(), expected, rtol=0, atol=0)
    found.sum().backward()
    assert rows.grad.isfinite().all()
