import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st

from skperco.utils._chunking import (
    MappedRows,
    RowTaker,
    as_tensor,
    blocks,
    chunks,
    is_mapped,
    take_rows,
)

CPU = torch.device("cpu")
LAYOUTS = pytest.mark.parametrize("layout", [np.asarray, sp.csr_array, sp.csr_matrix])


def sparse_rows(n=40, d=50):
    rows = np.random.default_rng(0).normal(size=(n, d))
    return np.where(np.abs(rows) > 1, rows, 0)


def dense(tensor):
    return (tensor.to_dense() if tensor.layout == torch.sparse_csr else tensor).numpy()


@given(st.integers(0, 50), st.integers(1, 60))
def test_chunks_cover_the_rows_in_order(n_rows, size):
    parts = [np.arange(n_rows)[chunk] for chunk in chunks(n_rows, size)]
    assert np.concatenate([*parts, []]).tolist() == list(range(n_rows))
    assert all(1 <= len(part) <= size for part in parts)


@LAYOUTS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_as_tensor_keeps_the_values(layout, dtype):
    rows = sparse_rows()
    found = as_tensor(layout(rows), device=CPU, dtype=dtype)
    assert found.dtype == dtype
    np.testing.assert_array_equal(dense(found), torch.from_numpy(rows).to(dtype))


@pytest.mark.parametrize("order", ["C", "F"])
def test_as_tensor_copies_dense_rows(order):
    rows = np.ones((3, 2), order=order)
    rows.flags.writeable = False
    as_tensor(rows, device=CPU, dtype=torch.float64).zero_()
    assert (rows == 1).all()


@LAYOUTS
def test_row_taker_selects_rows_by_index(layout):
    rows = sparse_rows().astype(np.float32)
    indices = torch.tensor([3, 0, 3, 39])
    found = RowTaker(layout(rows), CPU)(indices)
    np.testing.assert_array_equal(dense(found), rows[indices])


@LAYOUTS
def test_dropout_is_redrawn_at_each_call_and_does_not_modify_the_rows(layout):
    rows = layout(sparse_rows())
    taker = RowTaker(rows, CPU, dropout=0.4, generator=torch.Generator().manual_seed(0))
    every_row = torch.arange(40)
    whole = sparse_rows().astype(np.float32)
    first, second = (dense(taker(every_row)) for _ in range(2))
    dropped = (first != whole)[whole != 0]
    assert (first[first != 0] == whole[first != 0]).all()
    assert abs(dropped.mean() - 0.4) < 4 * (0.4 * 0.6 / len(dropped)) ** 0.5
    assert (first != second).any()
    np.testing.assert_array_equal(rows.toarray() if sp.issparse(rows) else rows, sparse_rows())


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_rows_taken_from_a_memory_map_equal_those_of_the_array(tmp_path, mode):
    rows = np.random.default_rng(0).normal(size=(500, 3))
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode=mode)
    if mode != "r":
        rows[7] = mapped[7] = 1.0
    indices = np.random.default_rng(1).permutation(490)[:300]
    for _ in range(2):
        np.testing.assert_array_equal(take_rows(mapped, indices), rows[indices])
        part = np.asarray(mapped)[5:, 1:]
        np.testing.assert_array_equal(take_rows(part, indices), rows[5:, 1:][indices])
    np.testing.assert_array_equal(mapped, rows)


def test_take_rows_selects_rows_of_an_array_in_memory():
    rows = np.arange(12).reshape(4, 3)
    np.testing.assert_array_equal(take_rows(rows, np.array([2, 0])), rows[[2, 0]])


@pytest.mark.parametrize("kind", ["array", "mapped", "sparse"])
def test_blocks_cover_all_rows_in_order(kind, tmp_path):
    rows = np.random.default_rng(0).normal(size=(50, 3))
    np.save(tmp_path / "rows.npy", rows)
    given = {
        "array": rows,
        "mapped": np.load(tmp_path / "rows.npy", mmap_mode="r"),
        "sparse": sp.csr_array(rows),
    }[kind]
    assert is_mapped(given) == (kind == "mapped")
    for _ in range(2):
        parts = list(blocks(given, 8))
        assert [part.shape[0] for _, part in parts] == [8] * 6 + [2]
        for block, part in parts:
            np.testing.assert_array_equal(part.toarray() if kind == "sparse" else part, rows[block])


def test_mapped_rows_are_computed_at_access():
    rows, lengths = np.random.default_rng(0).normal(size=(50, 3)), []

    def double(part):
        lengths.append(len(part))
        return 2 * part[:, :2]

    mapped = MappedRows(rows, double, 2)
    assert mapped.shape == (50, 2)
    assert lengths == []
    np.testing.assert_array_equal(mapped[5:9], 2 * rows[5:9, :2])
    np.testing.assert_array_equal(mapped.take(np.array([7, 1]))[:], 2 * rows[[7, 1], :2])
    assert lengths == [4, 2]


def test_row_taker_leaves_a_memory_map_in_its_file(tmp_path):
    rows = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    taker = RowTaker(np.load(tmp_path / "rows.npy", mmap_mode="r"), CPU)
    assert is_mapped(taker.array)
    np.testing.assert_array_equal(taker(torch.tensor([7, 1])), rows[[7, 1]])
    np.testing.assert_array_equal(taker.all(), rows)
