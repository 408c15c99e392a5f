"""Types of input and output: tensors, data frames, files, lists and sparse matrices."""

import copy
import functools
import io
import pickle

import joblib
import numpy as np
import pandas as pd
import polars
import pytest
import scipy.sparse as sp
import torch
from builders import small
from sklearn.utils import estimator_html_repr, get_tags

from skperco import neighbor_recall_score, perception_coherence_score
from skperco.datasets import load_wordnet_glosses


@pytest.fixture(scope="module")
def rows():
    return load_wordnet_glosses().data[:300]


@pytest.fixture(scope="module")
def fitted(rows):
    """A function that fits to the rows, once for each combination of parameters."""
    return functools.cache(lambda **parameters: small(**parameters).fit(rows))


@pytest.fixture(scope="module")
def expected(rows):
    """Embeddings and score of a fit with a teacher."""
    distiller = small().fit(rows[:, :40], rows)
    return distiller.transform(rows[:, :40]), distiller.score(rows[:, :40], rows)


def joblib_copy(estimator):
    file = io.BytesIO()
    joblib.dump(estimator, file)
    file.seek(0)
    return joblib.load(file)


def pickle_copy(estimator):
    return pickle.loads(pickle.dumps(estimator))


# Tensors


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_are_transformed_to_tensors(rows, expected, dtype):
    X, teacher = torch.from_numpy(rows[:, :40]).to(dtype), torch.from_numpy(rows)
    distiller = small().fit(X, teacher)
    embeddings = distiller.transform(X)
    assert isinstance(embeddings, torch.Tensor)
    assert (embeddings.dtype, embeddings.device) == (X.dtype, X.device)
    np.testing.assert_allclose(embeddings.numpy(), expected[0], atol=1e-5)
    assert distiller.score(X, teacher) == pytest.approx(expected[1], abs=1e-5)


def test_tensors_with_a_gradient_or_of_half_precision_are_converted(rows):
    single = small().fit(rows).transform(rows)
    graph = torch.from_numpy(rows).requires_grad_()
    np.testing.assert_array_equal(small().fit(graph).transform(graph).numpy(), single)
    for dtype in (torch.float16, torch.bfloat16):
        half = torch.from_numpy(rows).to(dtype)
        embeddings = small().fit(half).transform(half)
        assert embeddings.dtype == torch.float32
        found = small().fit(half.float().numpy()).transform(half.float().numpy())
        np.testing.assert_array_equal(embeddings.numpy(), found)


def test_scores_of_tensors_equal_those_of_arrays(rows):
    small_rows = rows[:, :8]
    for score in (perception_coherence_score, neighbor_recall_score):
        found = score(torch.from_numpy(rows), torch.from_numpy(small_rows))
        assert found == score(rows, small_rows)


def test_sparse_tensors_are_refused(rows):
    with pytest.raises(TypeError, match=r"X must be a dense tensor, .* SciPy"):
        small().fit(torch.from_numpy(rows).to_sparse())


def test_the_device_of_a_tensor_is_not_searched_for(rows, monkeypatch):
    asked = []
    monkeypatch.setattr("skperco.utils._devices.check_device", asked.append)
    distiller = small(device="auto").fit(torch.from_numpy(rows))
    distiller.transform(torch.from_numpy(rows))
    distiller.score(torch.from_numpy(rows))
    assert asked == []


def test_set_output_pandas_applies_to_tensors(rows):
    pandas = pytest.importorskip("pandas")
    distiller = small().fit(rows).set_output(transform="pandas")
    frame = distiller.transform(torch.from_numpy(rows))
    assert isinstance(frame, pandas.DataFrame)
    np.testing.assert_array_equal(frame.to_numpy(), distiller.transform(rows).to_numpy())


# Frames


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_data_frames_are_transformed_to_data_frames(rows, expected, kind):
    library = pytest.importorskip(kind)
    names = [f"x{i}" for i in range(40)]
    frame = library.DataFrame(dict(zip(names, rows[:, :40].T, strict=True)))
    teacher = library.DataFrame({f"t{i}": column for i, column in enumerate(rows.T)})
    distiller = small().set_output(transform=kind).fit(frame, teacher)
    assert distiller.feature_names_in_.tolist() == names
    embeddings = distiller.transform(frame)
    assert isinstance(embeddings, library.DataFrame)
    assert list(embeddings.columns) == distiller.get_feature_names_out().tolist()
    assert embeddings.to_numpy().dtype == np.float32
    np.testing.assert_allclose(embeddings.to_numpy(), expected[0], atol=1e-5)
    assert distiller.score(frame, teacher) == pytest.approx(expected[1], abs=1e-5)
    with pytest.raises(ValueError, match="feature names"):
        distiller.transform(frame[names[::-1]])


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_frames_of_several_dtypes_become_float64(rows, kind):
    library = pytest.importorskip(kind)
    columns = {f"x{i}": column for i, column in enumerate(rows[:, :10].T)}
    frame = library.DataFrame(columns | {"n": np.arange(300)})
    embeddings = small().fit(frame).transform(frame)
    assert embeddings.dtype == np.float64


# Files, lists and integers


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_memory_mapped_files_keep_their_dtype(rows, expected, dtype, tmp_path):
    for name, part in (("X", rows[:, :40]), ("teacher", rows)):
        np.save(tmp_path / name, part.astype(dtype))
    X, teacher = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("X", "teacher"))
    distiller = small().fit(X, teacher)
    embeddings = distiller.transform(X)
    assert embeddings.dtype == dtype
    np.testing.assert_allclose(embeddings, expected[0], atol=1e-4)


def test_lists_and_integers_become_float64(rows):
    integers = np.rint(100 * rows[:, :10]).astype(int)
    embeddings = small().fit(integers).transform(integers)
    assert embeddings.dtype == np.float64
    as_list = small().fit(integers.tolist()).transform(integers.tolist())
    np.testing.assert_array_equal(as_list, embeddings)
    doubles = integers.astype(np.float64)
    np.testing.assert_array_equal(small().fit(doubles).transform(doubles), embeddings)


# Tags, representation and parameter validation


@pytest.mark.parametrize("student", ["linear", "mlp"])
def test_tags_declare_sparse_and_dtype_support(student):
    tags = get_tags(small(student=student))
    assert tags.input_tags.sparse
    assert not tags.input_tags.allow_nan
    assert not tags.target_tags.required
    assert tags.requires_fit
    assert tags.transformer_tags.preserves_dtype == ["float64", "float32"]


def test_html_representation_has_parameters_and_fit_status(rows):
    distiller = small()
    assert "CoherenceDistiller" in estimator_html_repr(distiller)
    html = distiller.fit(rows)._repr_html_()
    assert "fitted" in html
    assert "n_components" in html


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"student": "tree"}, r"The 'student' parameter of CoherenceDistiller must be a str among"),
        ({"max_iter": -1}, r"The 'max_iter' parameter .* in the range \[0, inf\)"),
        ({"rank_power": 2}, r"The 'rank_power' parameter .* in the range \[0.*1"),
        ({"warm_start": "yes"}, "The 'warm_start' parameter .* must be an instance of 'bool'"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_invalid_parameters_raise_the_message_of_scikit_learn(rows, parameters, message, method):
    with pytest.raises(ValueError, match=message):
        getattr(small(**parameters), method)(rows)


# Invalid input


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"teacher_embeddings": np.arange(300)}, "teacher_embeddings.* 2D array, got 1D"),
        ({"teacher_embeddings": np.full((300, 1), "noun")}, "teacher_embeddings"),
        ({"teacher_embeddings": np.ones((299, 3))}, "same rows, got 300 and 299"),
        ({"sample_weight": -np.ones(300)}, "sample_weight must be non-negative, got -1"),
        ({"sample_weight": np.zeros(300)}, "sample_weight must have at least one positive"),
        ({"sample_weight": np.ones(299)}, r"sample_weight must have one entry per row.*\(300,\)"),
        ({"sample_weight": np.ones((300, 2))}, "sample_weight must have one entry per row"),
    ],
)
def test_fit_and_partial_fit_refuse_invalid_teachers_and_weights(rows, method, options, message):
    with pytest.raises(ValueError, match=message):
        getattr(small(), method)(rows, **options)


LABELS = {
    "a column of numbers": np.linspace(-1, 1, 300)[:, None],
    "a column of integers": np.arange(300)[:, None] % 3,
    "one-hot": np.eye(3, dtype=int)[np.arange(300) % 3],
    "booleans": np.eye(3, dtype=bool)[np.arange(300) % 3],
    "strings": np.array([["a", "b"], ["c", "d"]])[np.arange(300) % 2],
    "objects": np.array([["a", 1.5], ["c", None]], dtype=object)[np.arange(300) % 2],
    "a list of lists of strings": [["a", "b"]] * 300,
    "a list of lists of integers": [[0, 1], [1, 0]] * 150,
    "an integer tensor": torch.arange(600).view(300, 2),
    "sparse indicators": sp.csr_array(np.eye(3, dtype=int)[np.arange(300) % 3]),
    "a frame of integers": pd.DataFrame({"a": np.arange(300), "b": 1}),
    "a frame of mixed columns": pd.DataFrame({"a": np.linspace(0, 1, 300), "b": "x"}),
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_class_labels_in_y_are_ignored(rows, fitted, labels, metric):
    alone, labeled = fitted(metric=metric), small(metric=metric).fit(rows, labels)
    np.testing.assert_array_equal(labeled.transform(rows), alone.transform(rows))
    assert labeled.score(rows, labels) == alone.score(rows)


TEACHERS = {
    "single precision": lambda teacher: teacher,
    "double precision": lambda teacher: teacher.astype(np.float64),
    "half precision": lambda teacher: torch.from_numpy(teacher).half().float().numpy(),
    "a bfloat16 tensor": lambda teacher: torch.from_numpy(teacher).bfloat16(),
    "a list of lists": lambda teacher: teacher.tolist(),
    "a frame": lambda teacher: pd.DataFrame(teacher),
    "a frame in pyarrow's memory": lambda teacher: pd.DataFrame(teacher).astype("float[pyarrow]"),
    "nullable numbers": lambda teacher: pd.DataFrame(teacher).astype("Float32"),
    "a polars frame": lambda teacher: polars.DataFrame(teacher),
}


@pytest.mark.parametrize("as_given", TEACHERS.values(), ids=TEACHERS)
def test_floating_point_matrices_in_y_are_the_teacher(rows, as_given):
    teacher = as_given(rows[:, 40:60])
    by_position = small().fit(rows[:, :40], teacher).transform(rows[:, :40])
    by_name = small().fit(rows[:, :40], teacher_embeddings=teacher).transform(rows[:, :40])
    np.testing.assert_array_equal(by_position, by_name)


def test_a_teacher_of_one_column_is_refused_with_the_cosine_metric(rows):
    labels = np.arange(300)[:, None] % 3
    with pytest.raises(ValueError, match=r"teacher_embeddings must have .* two columns.*labels"):
        small().fit(rows, teacher_embeddings=labels)
    small(n_components=1).fit(rows, labels, teacher_embeddings=rows)


@pytest.mark.parametrize("dtype", [">f4", "<f4", np.float16])
def test_float32_is_kept_for_every_byte_order(rows, dtype):
    given = rows.astype(dtype)
    native = given.astype(np.float32)
    found = small().fit(given).transform(given)
    assert found.dtype == np.float32
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, small().fit(native).transform(native))


@pytest.mark.parametrize("dtype", ["float32", "float[pyarrow]", "Float32", "float16"])
def test_float32_columns_are_kept(rows, dtype):
    frame = pd.DataFrame(rows).astype(dtype)
    frame.columns = [f"x{i}" for i in range(frame.shape[1])]
    assert small().fit(frame).transform(frame).dtype == np.float32


def test_sample_weight_can_be_a_tensor(rows):
    weights = np.arange(300.0)
    expected = small().fit(rows, sample_weight=weights).transform(rows)
    found = small().fit(rows, sample_weight=torch.from_numpy(weights)).transform(rows)
    np.testing.assert_array_equal(found, expected)


DENSE_LAYOUTS = {
    "Fortran order": np.asfortranarray,
    "every other column": lambda array: np.repeat(array, 2, axis=1)[:, ::2],
    "every other row": lambda array: np.repeat(array, 2, axis=0)[::2],
    "reversed twice": lambda array: array[::-1, ::-1].copy()[::-1, ::-1],
    "a transposed tensor": lambda array: torch.from_numpy(array.T.copy()).T,
}


@pytest.mark.parametrize("as_stored", DENSE_LAYOUTS.values(), ids=DENSE_LAYOUTS)
@pytest.mark.parametrize("student", ["linear", "mlp"])
def test_results_do_not_depend_on_the_memory_layout_of_rows(rows, as_stored, student):
    X, teacher = rows[:, :40].copy(), rows[:, 40:60].copy()
    contiguous = small(student=student).fit(X, teacher)
    stored = small(student=student).fit(as_stored(X), as_stored(teacher))
    for fitted in (contiguous, stored):
        for given in (X, as_stored(X)):
            np.testing.assert_array_equal(fitted.transform(given), contiguous.transform(X))
    for metric in ("cosine", "euclidean", "manhattan"):
        found = perception_coherence_score(as_stored(teacher), as_stored(X), metric=metric)
        assert found == perception_coherence_score(teacher, X, metric=metric)


def shuffled_indices(matrix):
    """The same CSR matrix, with the entries of each row in reverse order."""
    entries = [
        np.arange(stop - 1, start - 1, -1)
        for start, stop in zip(matrix.indptr, matrix.indptr[1:], strict=False)
    ]
    order = np.concatenate(entries)
    parts = (matrix.data[order], matrix.indices[order], matrix.indptr)
    return sp.csr_array(parts, shape=matrix.shape)


def halved_entries(matrix):
    """The same CSR matrix, each entry stored as two halves."""
    parts = (matrix.data.repeat(2) / 2, matrix.indices.repeat(2), 2 * matrix.indptr)
    return sp.csr_array(parts, shape=matrix.shape)


@pytest.mark.parametrize(
    "as_stored", [shuffled_indices, halved_entries, sp.csc_array, sp.coo_array]
)
def test_results_do_not_depend_on_the_storage_of_sparse_rows(rows, as_stored):
    X = sp.csr_array(np.where(rows[:, :40] > 0.02, rows[:, :40], 0))
    stored = as_stored(X)
    before = stored.data.copy()
    contiguous, other = small().fit(X), small().fit(stored)
    np.testing.assert_array_equal(other.transform(stored), contiguous.transform(X))
    found = perception_coherence_score(stored, rows, metric="cosine")
    assert found == perception_coherence_score(X, rows, metric="cosine")
    np.testing.assert_array_equal(stored.data, before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["array", "file"])
def test_transform_writes_into_out(rows, fitted, kind, dtype, tmp_path):
    distiller = fitted()
    expected = distiller.transform(rows)
    out = np.empty(expected.shape, dtype)
    if kind == "file":
        path = tmp_path / "out.npy"
        out = np.lib.format.open_memmap(path, "w+", dtype, expected.shape)
    assert distiller.transform(rows, out=out) is out
    np.testing.assert_array_equal(out, expected.astype(dtype))
    if kind == "file":
        out.flush()
        np.testing.assert_array_equal(np.load(path), out)


@pytest.mark.parametrize(
    ("out", "error"),
    [
        ([[0.0]], TypeError),
        (np.zeros((300, 4), dtype=int), TypeError),
        (np.zeros((300, 3)), ValueError),
        (np.zeros((299, 4)), ValueError),
        (np.broadcast_to(0.0, (300, 4)), ValueError),
    ],
)
def test_transform_refuses_an_invalid_out(rows, fitted, out, error):
    with pytest.raises(error, match="out must be"):
        fitted().transform(rows, out=out)


@pytest.mark.parametrize("name", ["X", "teacher_embeddings"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e20])
def test_invalid_values_in_memory_mapped_files_are_refused(rows, name, value, tmp_path):
    data = {"X": rows[:, :40].copy(), "teacher_embeddings": rows.copy()}
    data[name][-1, -1] = value
    for key, array in data.items():
        np.save(tmp_path / key, array)
    X, teacher = (np.load(tmp_path / f"{key}.npy", mmap_mode="r") for key in data)
    with pytest.raises(ValueError, match=name):
        small().fit(X, teacher)


@pytest.mark.parametrize("student", ["linear", "mlp"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_transform_refuses_rows_that_are_not_finite(rows, fitted, student, metric, value):
    distiller = fitted(student=student, metric=metric)
    invalid = rows.copy()
    invalid[7, 3] = value
    with pytest.raises(ValueError, match="X contains"):
        distiller.transform(invalid)


@pytest.mark.parametrize("scale", [1e-35, 1e-25, 1e-22, 1e-10, 1e10, 1e37])
@pytest.mark.parametrize("student", ["linear", "mlp"])
@pytest.mark.parametrize("as_given", [np.asarray, sp.csr_array])
def test_cosine_embeddings_do_not_depend_on_the_scale_of_a_row(
    rows, fitted, scale, student, as_given
):
    distiller = fitted(student=student)
    expected = distiller.transform(rows)
    scaled = rows.copy()
    scaled[::2] *= np.float32(scale)
    found = distiller.transform(as_given(scaled))
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("scale", [1e-25, 1e-15, 1e10])
def test_a_cosine_fit_does_not_depend_on_the_scale_of_a_row(rows, fitted, scale):
    scaled = rows.copy()
    scaled[::2] *= np.float32(scale)
    found, expected = small(max_iter=20).fit(scaled), fitted(max_iter=20)
    np.testing.assert_allclose(found.transform(rows), expected.transform(rows), atol=0.02)


def test_transform_refuses_rows_whose_embeddings_overflow(fitted):
    distiller = fitted(metric="euclidean")
    with pytest.raises(ValueError, match="X must have its largest entry"):
        distiller.transform(3e38 * np.sign(distiller.student_.weight.detach().numpy()))


def test_rows_of_weight_zero_in_a_file_have_no_effect(rows, tmp_path):
    np.save(tmp_path / "X.npy", rows)
    weights = np.arange(len(rows)) % 3 != 0
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    found = small().fit(X, sample_weight=weights).transform(rows)
    expected = small().fit(rows[weights]).transform(rows)
    np.testing.assert_allclose(found, expected, atol=1e-4)


# Devices


@pytest.mark.parametrize("copied", [joblib_copy, pickle_copy, copy.deepcopy], ids=str)
def test_a_copy_of_a_fit_uses_device_auto_if_its_device_is_missing(rows, copied):
    distiller = small().fit(rows)
    expected = distiller.transform(rows)
    distiller.device = "cuda:77"
    again = copied(distiller)
    assert again.device == "auto"
    np.testing.assert_array_equal(again.transform(rows), expected)
    assert copied(small().fit(rows)).device == "cpu"


def test_a_copy_of_an_unfitted_estimator_keeps_a_missing_device(rows):
    distiller = pickle_copy(small(device="cuda:77"))
    assert distiller.device == "cuda:77"
    with pytest.raises(ValueError, match=r"device must be .*cuda.*77"):
        distiller.fit(rows)


@pytest.mark.parametrize("device", ["cuda:77", "nowhere", 3.5, None])
def test_a_missing_device_is_refused(rows, device):
    with pytest.raises((ValueError, TypeError), match=r"device.* must be"):
        small(device=device).fit(rows)
    with pytest.raises(ValueError, match="device must be"):
        perception_coherence_score(rows, rows, device=device)
