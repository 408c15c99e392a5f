"""Columns of vectors, as data frames store embeddings, in all public functions."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from builders import small
from numpy.testing import assert_allclose, assert_array_equal

from skperco import (
    PerceptionCoherenceScorer,
    coherence_curve,
    neighbor_recall_score,
    pairwise_perception_coherence,
    perception_coherence_interval,
    perception_coherence_samples,
    perception_coherence_score,
    perception_coherence_test,
)

ROWS = np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)
TEACHER = np.random.default_rng(1).normal(size=(60, 9)).astype(np.float32)


def objects(rows):
    column = np.empty(len(rows), dtype=object)
    column[:] = list(rows)
    return column


def arrow_series(rows):
    dtype = pd.ArrowDtype(pa.list_(pa.from_numpy_dtype(rows.dtype)))
    return pd.Series(rows.tolist(), dtype=dtype)


COLUMNS = {
    "pandas Series": lambda rows: pd.Series(list(rows)),
    "pandas Series with another index": lambda rows: pd.Series(list(rows), index=range(9, 69)),
    "pandas Series of pyarrow lists": arrow_series,
    "pandas frame": lambda rows: pd.DataFrame({"embedding": list(rows)}),
    "polars Series of lists": lambda rows: pl.Series(rows.tolist(), dtype=pl.List(pl.Float32)),
    "polars Series of arrays": lambda rows: pl.Series("embedding", rows),
    "polars frame": lambda rows: pl.DataFrame({"embedding": rows}),
    "array of objects": objects,
    "array of tensors": lambda rows: objects(torch.from_numpy(rows).unbind()),
    "list of arrays": list,
    "list of tensors": lambda rows: list(torch.from_numpy(rows)),
}
EACH_COLUMN = pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS.keys())
SCORES = [
    perception_coherence_score,
    perception_coherence_samples,
    perception_coherence_interval,
    neighbor_recall_score,
    lambda *rows: coherence_curve(*rows).coherences,
    lambda *rows: pairwise_perception_coherence(rows),
    lambda *rows: perception_coherence_test(*rows, rows[1]),
]


@EACH_COLUMN
def test_fit_on_a_column_of_vectors_equals_fit_on_its_matrix(column):
    expected = small().fit(ROWS, TEACHER)
    for teacher in ({"y": column(TEACHER)}, {"teacher_embeddings": column(TEACHER)}):
        distiller = small().fit(column(ROWS), **teacher)
        embedded = distiller.transform(column(ROWS))
        assert embedded.dtype == np.float32
        assert_array_equal(embedded, expected.transform(ROWS))
        assert distiller.score(column(ROWS), **teacher) == expected.score(ROWS, TEACHER)
    streamed = small().partial_fit(column(ROWS), column(TEACHER))
    assert_array_equal(streamed.transform(ROWS), small().partial_fit(ROWS, TEACHER).transform(ROWS))


@EACH_COLUMN
@pytest.mark.parametrize("score", SCORES)
def test_scores_of_a_column_of_vectors_equal_those_of_its_matrix(column, score):
    found = score(column(TEACHER), column(ROWS))
    assert_allclose(np.asarray(found), np.asarray(score(TEACHER, ROWS)), rtol=0, atol=0)


@EACH_COLUMN
def test_the_scorer_accepts_columns_of_vectors(column):
    distiller, scorer = small().fit(ROWS), PerceptionCoherenceScorer()
    assert scorer(distiller, column(ROWS), column(TEACHER)) == scorer(distiller, ROWS, TEACHER)


LABELS = {
    "strings": pd.Series(["a", "b", "c"] * 20),
    "lists of strings": pd.Series([["a"], ["b", "c"], []] * 20),
    "vectors of integers": pd.Series(list(np.eye(3, dtype=int)[[0, 1, 2] * 20])),
    "numbers": pd.Series([1.5, 2.5, 3.5] * 20),
    "vectors of one number": pd.Series(list(TEACHER[:, :1])),
    "integer tensors": [torch.tensor(number % 3) for number in range(60)],
}


@pytest.mark.parametrize("y", LABELS.values(), ids=LABELS.keys())
def test_a_column_of_labels_is_not_used_as_a_teacher(y):
    assert_array_equal(small().fit(ROWS, y).transform(ROWS), small().fit(ROWS).transform(ROWS))


BAD = {
    "ragged": (pd.Series([ROWS[0]] * 7 + [ROWS[0, :5]]), r"one length, got shape \(5,\) in row 7"),
    "missing": (pd.Series([ROWS[0]] * 3 + [None]), "vector in each row, got None in row 3"),
    "missing in the first row": (pl.Series([None, [1.0, 2.0]]), "got None in row 0"),
    "number": (pd.Series([ROWS[0], 3.0]), r"got 3\.0 in row 1"),
    "numbers": (pd.Series([1.0, 2.0, 3.0]), "Expected a 2-dimensional container"),
    "polars numbers": (pl.Series([1.0, 2.0, 3.0]), "2D array|2-dimensional|Series"),
}
CALLS = {
    "X": lambda column: small().fit(column),
    "X of transform": lambda column: small().fit(ROWS).transform(column),
    "X of partial_fit": lambda column: small().partial_fit(column),
    "teacher_embeddings": lambda column: small().fit(ROWS, teacher_embeddings=column),
    "teacher": lambda column: perception_coherence_score(column, ROWS),
    "student": lambda column: neighbor_recall_score(ROWS, column),
}


@pytest.mark.parametrize("call", CALLS.items(), ids=CALLS.keys())
@pytest.mark.parametrize(("column", "message"), BAD.values(), ids=BAD.keys())
def test_an_invalid_column_raises_an_error_that_names_the_argument(call, column, message):
    where, function = call
    with pytest.raises(ValueError, match=message) as caught:
        function(column)
    assert where.split()[0] in str(caught.value)


UNREADABLE = {
    "masked": (np.ma.masked_greater(ROWS, 1), ValueError, "must have no masked entries"),
    "dates": (ROWS.astype("datetime64[D]"), TypeError, "must contain numbers, got datetime64"),
    "durations": (ROWS.astype("timedelta64[s]"), TypeError, "must contain numbers, got timedelta"),
    "no values": (torch.ones(60, 6, device="meta"), ValueError, "must have values, got .*'meta'"),
}


@pytest.mark.parametrize("call", CALLS.items(), ids=CALLS.keys())
@pytest.mark.parametrize(("array", "error", "message"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_arrays_with_entries_that_would_be_misread_raise_an_error(call, array, error, message):
    where, function = call
    with pytest.raises(error, match=f"^{where.split()[0]} {message}"):
        function(array)


def test_a_masked_array_without_masked_entries_equals_its_data():
    fitted = small().fit(np.ma.array(ROWS, mask=False))
    assert_array_equal(fitted.transform(ROWS), small().fit(ROWS).transform(ROWS))


@pytest.mark.parametrize("call", CALLS.items(), ids=CALLS.keys())
def test_a_lazy_frame_raises_an_error_that_names_the_argument(call):
    where, function = call
    name = where.split()[0]
    with pytest.raises(TypeError, match=rf"{name} is a LazyFrame.*{name}\.collect\(\)"):
        function(pl.DataFrame(ROWS).lazy())


def test_a_lazy_frame_as_y_raises_an_error_that_names_it():
    with pytest.raises(TypeError, match=r"y is a LazyFrame.*y\.collect\(\)"):
        small().fit(ROWS, pl.DataFrame(TEACHER).lazy())
