import os
from functools import partial

import numpy as np
import pytest
from builders import small
from sklearn import config_context

from skperco import (
    CoherenceDistiller,
    neighbor_recall_score,
    perception_coherence_samples,
    perception_coherence_score,
)
from skperco.datasets import load_wordnet_glosses

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

N_ROWS = 1_000_000


@pytest.fixture(scope="module")
def rows():
    return load_wordnet_glosses().data


@pytest.fixture(scope="module")
def distiller(rows):
    return small(8).fit(rows[:400])


def never(*_):
    raise AssertionError("computed too early")


@pytest.fixture
def frames():
    return pytest.importorskip("dask.dataframe")


@pytest.mark.parametrize("chunks", [(1000, 384), (700, 100), ((4999, 0, 1), 384)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int64])
def test_arrays_are_transformed_chunk_by_chunk(rows, distiller, chunks, dtype):
    rows = (100 * rows).astype(dtype)
    found = distiller.transform(da.from_array(rows, chunks=chunks))
    assert isinstance(found, da.Array)
    assert found.shape == (len(rows), 8)
    expected = distiller.transform(rows)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found.compute(), expected, atol=1e-6)


def test_transform_computes_nothing(distiller):
    lazy = da.from_delayed(dask.delayed(never)(), shape=(100, 384), dtype=np.float32)
    found = distiller.transform(lazy)
    with pytest.raises(AssertionError, match="computed too early"):
        found.compute()


def test_transform_does_not_merge_chunks(rows, distiller):
    sizes = []

    def recorded(block):
        sizes.append(len(block))
        return block

    lazy = da.from_array(rows, chunks=(500, 384)).map_blocks(recorded, meta=rows[:0])
    distiller.transform(lazy).sum().compute()
    assert max(sizes) == 500


def test_frames_are_transformed_partition_by_partition(rows, frames):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(rows, columns=[f"x{i}" for i in range(384)])
    distiller = small(8).fit(frame[:400])
    lazy = frames.from_pandas(frame, npartitions=3)
    found = distiller.transform(lazy)
    assert list(found.columns) == list(distiller.get_feature_names_out())
    computed = found.compute()
    assert (computed.dtypes == found.dtypes).all()
    assert (computed.dtypes == distiller.transform(frame).dtype).all()
    np.testing.assert_allclose(computed, distiller.transform(frame), atol=1e-6)
    assert (computed.index == frame.index).all()
    few = distiller.transform(lazy.loc[4001:]).compute()
    np.testing.assert_allclose(few, computed[4001:], atol=1e-6)
    with pytest.raises(ValueError, match="feature names"):
        distiller.transform(lazy[["x1", "x0", *frame.columns[2:]]])
    assert distiller.score(lazy) == pytest.approx(distiller.score(frame), abs=1e-6)


def test_a_wrong_number_of_features_raises_before_anything_is_computed(distiller):
    with pytest.raises(ValueError, match="expecting 384 features"):
        distiller.transform(da.zeros((10, 3)))


def test_a_chunk_with_nan_raises_when_it_is_computed(rows, distiller):
    bad = rows[:100].copy()
    bad[70, 3] = np.nan
    lazy = distiller.transform(da.from_array(bad, chunks=(50, 384)))
    with pytest.raises(ValueError, match="X contains NaN"):
        lazy.compute()


def test_transform_of_dask_arrays_with_out_raises_an_error(rows, distiller):
    with pytest.raises(TypeError, match="out must be None for a Dask"):
        distiller.transform(da.from_array(rows), out=np.empty((len(rows), 8)))


@pytest.mark.parametrize("n_rows", [500, 4100])
def test_scores_of_dask_arrays_equal_those_of_arrays(rows, distiller, n_rows):
    teacher, student = rows[:n_rows, :24], distiller.transform(rows[:n_rows])
    lazy = [da.from_array(part, chunks=(n_rows // 4, 20)) for part in (teacher, student)]
    for score in (perception_coherence_score, partial(neighbor_recall_score, n_anchors=20)):
        assert score(*lazy) == pytest.approx(score(teacher, student), abs=1e-9)
    weights = np.arange(n_rows) % 3
    assert perception_coherence_score(*lazy, sample_weight=weights) == pytest.approx(
        perception_coherence_score(teacher, student, sample_weight=weights)
    )
    samples = partial(perception_coherence_samples, n_references=200)
    np.testing.assert_allclose(samples(*lazy), samples(teacher, student))


def test_a_score_computes_each_chunk_once(rows, distiller):
    computed = []

    def recorded(block):
        computed.append(len(block))
        return block

    lazy = da.from_array(rows, chunks=(500, 384)).map_blocks(recorded, meta=rows[:0])
    found = distiller.score(lazy)
    assert found == pytest.approx(distiller.score(rows), abs=1e-6)
    assert computed == [500] * 10


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lambda: da.zeros(9), "teacher must be a matrix of numbers"),
        (lambda: da.zeros((9, 2, 2)), "teacher must be a matrix of numbers"),
        (lambda: da.zeros((9, 2), dtype="U3"), "teacher must be a matrix of numbers"),
        (lambda: da.zeros((8, 2)), "same rows"),
    ],
)
def test_invalid_dask_arrays_raise_an_error(data, message):
    with pytest.raises(ValueError, match=message):
        perception_coherence_score(data(), np.ones((9, 2)))


def test_a_precomputed_dissimilarity_matrix_must_be_in_memory():
    with pytest.raises(ValueError, match="must be in memory"):
        perception_coherence_score(
            da.zeros((9, 9)), np.ones((9, 2)), metric="cosine", teacher_metric="precomputed"
        )


@pytest.mark.slow
def test_a_million_rows_are_embedded_and_scored_on_two_workers(rows):
    distributed = pytest.importorskip("distributed")
    distiller = CoherenceDistiller(64, max_iter=10, random_state=0).fit(rows)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, memory_limit="2GB", dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        processes = client.run(os.getpid)
        lazy = da.random.default_rng(0).normal(size=(N_ROWS, 384), chunks=(20_000, 384))
        lazy = lazy.astype(np.float32)
        embeddings = distiller.transform(lazy)
        norms = (embeddings**2).sum(axis=1)
        assert float(abs(norms - 1).max().compute()) < 1e-5
        assert 0.5 < distiller.score(lazy) < 1
        assert client.run(os.getpid) == processes


@pytest.mark.parametrize("container", ["default", "pandas", "polars"])
@pytest.mark.parametrize("configure", ["method", "global"])
@pytest.mark.parametrize("method", ["transform", "fit_transform"])
def test_set_output_does_not_compute_dask_collections(rows, frames, container, configure, method):
    array = da.from_array(rows[:60, :10], chunks=(25, 10))
    frame = frames.from_dask_array(array, columns=[f"x{i}" for i in range(10)])
    for data, kind in ((array, da.Array), (frame, frames.DataFrame)):
        distiller = small(4).fit(data)
        expected = distiller.transform(data.compute())
        if configure == "method":
            distiller.set_output(transform=container)
        with config_context(transform_output=container if configure == "global" else "default"):
            found = getattr(distiller, method)(data)
            assert isinstance(found, kind)
            np.testing.assert_allclose(np.asarray(found.compute()), expected, atol=1e-6)


def test_a_subclass_with_its_own_transform_does_not_compute_dask_arrays(rows):
    class Doubled(CoherenceDistiller):
        def transform(self, X, *, out=None):
            return 2 * super().transform(X, out=out)

    array = da.from_array(rows[:60, :10], chunks=(25, 10))
    distiller = Doubled(4, max_iter=1).set_output(transform="pandas")
    for found in (distiller.fit_transform(array), distiller.transform(array)):
        assert isinstance(found, da.Array)
    in_memory = distiller.transform(rows[:60, :10])
    np.testing.assert_allclose(found.compute(), in_memory.to_numpy(), atol=1e-6)
