"""Types, layouts and shapes of input and output."""

import numpy as np
import pytest
from builders import small

STUDENTS = pytest.mark.parametrize("student", ["linear", "mlp"])


@STUDENTS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sparse", [False, True])
def test_dtype_of_the_output_is_that_of_the_input(rows, texts, student, dtype, sparse):
    X = (texts[:300] if sparse else rows).astype(dtype)
    distiller = small(student=student).fit(X, rows)
    for other in (np.float32, np.float64):
        assert distiller.transform(X.astype(other)).dtype == other
    single, double = (distiller.transform(X.astype(kind)) for kind in (np.float32, np.float64))
    np.testing.assert_allclose(single, double, atol=1e-5)


def test_integers_and_half_precision_are_converted(rows):
    whole = (100 * rows).astype(np.int32)
    expected = small().fit(whole.astype(np.float64)).transform(whole.astype(np.float64))
    np.testing.assert_array_equal(small().fit(whole).transform(whole.tolist()), expected)
    half = rows.astype(np.float16)
    expected = small().fit_transform(half.astype(np.float32))
    assert expected.dtype == np.float32
    np.testing.assert_array_equal(small().fit_transform(half), expected)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "correlation"])
def test_embeddings_have_unit_norm_only_with_the_cosine_metric(rows, metric):
    norms = np.linalg.norm(small(metric=metric).fit_transform(rows), axis=1)
    assert np.allclose(norms, 1, atol=1e-5) == (metric == "cosine")


@STUDENTS
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_fit_does_not_modify_its_input_or_parameters(rows, texts, student, metric):
    X, teacher, weights = texts[:300].copy(), rows.copy(), np.linspace(0, 1, 300)
    before = X.toarray(), teacher.copy(), weights.copy()
    distiller = small(student=student, metric=metric)
    parameters = distiller.get_params()
    distiller.fit(X, teacher, sample_weight=weights)
    distiller.fit(teacher).transform(teacher)
    assert distiller.get_params() == parameters
    for found, expected in zip((X.toarray(), teacher, weights), before, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_fit_does_not_modify_precomputed_dissimilarities(rows):
    table = np.maximum(1 - rows @ rows.T, 0)
    before = table.copy()
    small(teacher_metric="precomputed").fit(rows, table)
    np.testing.assert_array_equal(table, before)


def test_read_only_input_raises_no_warning(rows, recwarn):
    locked = rows.copy()
    locked.flags.writeable = False
    small().fit(locked).transform(locked)
    small().fit(locked, locked)
    assert not [warning for warning in recwarn if "writ" in str(warning.message)]


@STUDENTS
def test_fit_transform_equals_fit_and_transform(rows, student):
    found = small(student=student).fit_transform(rows)
    np.testing.assert_array_equal(found, small(student=student).fit(rows).transform(rows))


def test_the_embedding_of_a_row_does_not_depend_on_other_rows(rows):
    distiller = small(student="mlp").fit(rows)
    alone = np.concatenate([distiller.transform(row[None]) for row in rows[:5]])
    np.testing.assert_allclose(alone, distiller.transform(rows)[:5], atol=1e-5)


@pytest.mark.parametrize(
    ("n_rows", "n_features", "n_teacher_features", "expected"),
    [(300, 384, None, 64), (40, 384, None, 64), (300, 9, None, 9), (300, 384, 5, 5), (2, 9, 7, 7)],
)
def test_n_components_none_does_not_depend_on_the_number_of_rows(
    rows, n_rows, n_features, n_teacher_features, expected
):
    teacher = None if n_teacher_features is None else rows[:n_rows, :n_teacher_features]
    distiller = small(None, max_iter=1).fit(rows[:n_rows, :n_features], teacher)
    assert distiller.n_components_ == expected
    assert distiller.transform(rows[:3, :n_features]).shape == (3, expected)
