"""Teachers by position and by name, of every kind and metric."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from builders import small
from sklearn import config_context
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

STUDENTS = pytest.mark.parametrize("student", ["linear", "mlp"])


def test_a_two_dimensional_y_is_the_teacher_of_sparse_rows(glosses, texts):
    teacher = glosses.data[:300]
    by_position = small().fit(texts[:300], teacher).transform(texts)
    by_name = small().fit(texts[:300], teacher_embeddings=teacher).transform(texts)
    np.testing.assert_array_equal(by_name, by_position)
    as_list = small().fit(texts[:300], teacher.astype(np.float64).tolist()).transform(texts)
    np.testing.assert_allclose(as_list, by_position, atol=0.05)


def test_sparse_and_dense_rows_have_the_same_closed_form(rows, texts):
    expected = small(max_iter=0).fit(texts[:300].toarray(), rows).transform(texts.toarray())
    found = small(max_iter=0).fit(texts[:300], rows).transform(texts)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("layout", [sp.csr_array, sp.csc_matrix, sp.coo_array])
def test_results_do_not_depend_on_the_sparse_format(rows, texts, layout):
    X = texts[:300]
    expected = small(max_iter=0).fit(X, rows).transform(X)
    found = small(max_iter=0).fit(layout(X), rows).transform(layout(X))
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_teacher_embeddings_override_y(rows):
    other = np.random.default_rng(0).normal(size=(len(rows), 20))
    alone = small().fit(rows, teacher_embeddings=other)
    both = small().fit(rows, rows, teacher_embeddings=other)
    np.testing.assert_array_equal(both.transform(rows), alone.transform(rows))
    assert both.score(rows, rows, teacher_embeddings=other) == both.score(rows, other)


@pytest.mark.parametrize("labels", [np.arange(300), ["a", "b", "c"] * 100, [None] * 300])
def test_a_one_dimensional_y_is_ignored(rows, labels):
    expected = small().fit(rows).transform(rows)
    np.testing.assert_array_equal(small().fit(rows, labels).transform(rows), expected)
    np.testing.assert_array_equal(small().fit_transform(rows, labels), expected)


def test_a_classifier_in_a_pipeline_learns_from_the_embeddings(glosses, rows):
    pipeline = make_pipeline(small(), LogisticRegression())
    is_noun = np.char.startswith(glosses.target_names[glosses.target[:300]].astype(str), "noun")
    assert pipeline.fit(rows, is_noun).score(rows, is_noun) > is_noun.mean()


def test_metadata_routing_passes_the_teacher_to_the_step_of_a_pipeline(rows, new_rows):
    teacher = new_rows[:300]
    alone = small().fit(rows, teacher).transform(rows)
    with config_context(enable_metadata_routing=True):
        distiller = small().set_fit_request(teacher_embeddings=True)
        pipeline = make_pipeline(distiller).fit(rows, teacher_embeddings=teacher)
        np.testing.assert_array_equal(pipeline.transform(rows), alone)


def edit_distance(word, other):
    """Levenshtein distance."""
    row = list(range(len(other) + 1))
    for i, letter in enumerate(word, 1):
        diagonal, row[0] = row[0], i
        for j, wanted in enumerate(other, 1):
            diagonal, row[j] = (
                row[j],
                min(row[j] + 1, row[j - 1] + 1, diagonal + (letter != wanted)),
            )
    return row[-1]


@pytest.fixture(scope="module")
def words():
    """A few stems with many endings."""
    stems = ["embed", "distil", "coher", "neighbo", "percept", "rank", "student", "teach"]
    endings = ["", "s", "ed", "er", "ers", "ing", "ings", "ent", "ence", "ion", "ions", "able"]
    return [stem + ending for stem in stems for ending in endings]


def test_precomputed_edit_distances_can_be_the_teacher(words):
    table = [[edit_distance(word, other) for other in words] for word in words]
    letters = TfidfVectorizer(analyzer="char", ngram_range=(1, 3)).fit_transform(words)
    distiller = small(teacher_metric="precomputed", early_stopping=False, max_iter=20)
    distiller.fit(letters, teacher_embeddings=table)
    assert distiller.score(letters, teacher_embeddings=table) > 0.75
    held_out = small(teacher_metric="precomputed", validation_fraction=0.3)
    held_out.fit(letters, teacher_embeddings=table)
    assert held_out.validation_scores_[0] > 0.6


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_closed_form_is_the_same_for_a_teacher_and_its_precomputed_distances(rows, texts, metric):
    X, teacher = texts[:300], rows[:, :30].astype(np.float64)
    table = np.linalg.norm(teacher[:, None] - teacher, axis=2)
    by_rows, by_table = (
        small(max_iter=0, metric=metric, teacher_metric=teacher_metric, early_stopping=False)
        .fit(X, given)
        .transform(X)
        for teacher_metric, given in (("euclidean", teacher), ("precomputed", table))
    )
    # The embeddings may differ by a rotation or a reflection, which keeps the inner products.
    np.testing.assert_allclose(by_table @ by_table.T, by_rows @ by_rows.T, atol=1e-5)


def test_a_callable_metric_equals_the_built_in_metric(rows):
    def manhattan(anchors, references):
        return torch.cdist(anchors, references, p=1)

    expected = small(metric="manhattan").fit(rows)
    found = small(metric=manhattan, teacher_metric="manhattan").fit(rows)
    np.testing.assert_allclose(found.transform(rows), expected.transform(rows), atol=1e-4)
    both = small(metric=manhattan).fit(rows)
    assert both.score(rows) == pytest.approx(expected.score(rows), abs=1e-6)


@STUDENTS
@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "manhattan", "correlation"])
def test_every_metric_trains_and_scores_above_chance(rows, new_rows, metric, student):
    distiller = small(metric=metric, student=student).fit(rows)
    assert distiller.score(new_rows) > 0.6
    assert (distiller.transform(new_rows) != small(max_iter=0).fit(rows).transform(new_rows)).any()
