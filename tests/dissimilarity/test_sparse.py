from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from builders import small
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from skperco import (
    neighbor_recall_score,
    perception_coherence_samples,
    perception_coherence_score,
)
from skperco.datasets import load_wordnet_glosses
from skperco.dissimilarity._dense import pairwise_dissimilarity
from skperco.dissimilarity._sparse import sparse_dissimilarity, sparse_squared_norms

METRICS = ["cosine", "euclidean", "manhattan", "sqeuclidean"]


@pytest.fixture(scope="module")
def texts():
    """TF-IDF of some glosses, with a zero row and two identical rows."""
    texts = load_wordnet_glosses().text[:300]
    texts[7], texts[8] = "", texts[9]
    return TfidfVectorizer(min_df=2, dtype=np.float32).fit_transform(texts)


@given(st.integers(0, 1000), st.sampled_from(METRICS), st.sampled_from([np.float32, np.float64]))
def test_dissimilarities_of_sparse_rows_equal_those_of_dense_rows(seed, metric, dtype):
    rng = np.random.default_rng(seed)
    rows = np.where(rng.random((12, 9)) < 0.3, rng.random((12, 9)), 0).astype(dtype)
    rows[3] = rows[4]
    rows[5] = rows[6] = 0
    rows[7] = rows[8] * (1 + 1e-4)
    anchors, references = rows[:8], rows[2:]
    found = sparse_dissimilarity(sp.csr_array(anchors), sp.csr_array(references), metric)
    pair = (torch.from_numpy(part).double() for part in (anchors, references))
    expected = pairwise_dissimilarity(*pair, metric=metric).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-15)


def test_squared_norms_of_single_precision_are_accumulated_in_double():
    rows = np.ones((2, 1000), dtype=np.float32)
    rows[0, 0] = 1e4
    np.testing.assert_array_equal(sparse_squared_norms(sp.csr_array(rows)), [1e8 + 999, 1000])


@pytest.mark.parametrize("metric", METRICS)
def test_identical_rows_have_dissimilarity_zero(texts, metric):
    found = sparse_dissimilarity(sp.csr_array(texts), sp.csr_array(texts), metric)
    assert (np.diag(found) == 0).all()
    assert found[8, 9] == 0
    assert (found[7, :7] > 0).all()


@pytest.mark.parametrize("score", [perception_coherence_score, neighbor_recall_score])
@pytest.mark.parametrize("metric", METRICS)
def test_scores_of_sparse_rows_equal_those_of_dense_rows(texts, score, metric):
    dense = texts.toarray()
    other = dense[:, :40] + 0.01
    options = {"metric": metric, "n_anchors": 50}
    for sparse_pair, pair in (
        ((texts, other), (dense, other)),
        ((other, texts), (other, dense)),
        ((texts, texts), (dense, dense)),
    ):
        assert score(*sparse_pair, **options) == pytest.approx(score(*pair, **options), abs=1e-12)


def test_scores_by_sample_of_sparse_rows_equal_those_of_dense_rows(texts):
    dense = texts.toarray()
    found = perception_coherence_samples(texts, dense[:, :40])
    np.testing.assert_allclose(found, perception_coherence_samples(dense, dense[:, :40]))


def test_the_error_of_an_unsupported_metric_lists_the_metrics_of_sparse_rows(texts):
    with pytest.raises(ValueError, match=r"teacher is sparse: .*'cosine'.* got 'correlation'"):
        perception_coherence_score(texts, texts, metric="correlation")


small = partial(small, n_components=16, batch_size=64)


@pytest.fixture(scope="module")
def untied_texts():
    """TF-IDF of texts that share a word, so that rounding creates no ties."""
    texts = [f"gloss {text}" for text in load_wordnet_glosses().text[:300]]
    return TfidfVectorizer(min_df=2, dtype=np.float32).fit_transform(texts)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("student", ["linear", "mlp"])
def test_a_fit_on_sparse_rows_agrees_with_a_fit_on_dense_rows(untied_texts, student, metric):
    dense = untied_texts.toarray()
    closed_forms = [
        small(student=student, metric=metric, max_iter=0).fit(X).transform(X)
        for X in (untied_texts, dense)
    ]
    np.testing.assert_allclose(*closed_forms, atol=1e-4)
    scores = [
        small(student=student, metric=metric, early_stopping=False).fit(X).score(X)
        for X in (untied_texts, dense)
    ]
    assert scores[0] == pytest.approx(scores[1], abs=5e-3)


def test_training_improves_the_closed_form_on_sparse_rows(untied_texts):
    closed_form = small(max_iter=0).fit(untied_texts)
    trained = small(max_iter=60, batch_size=256, early_stopping=False).fit(untied_texts)
    coherences = [one.score(untied_texts) for one in (closed_form, trained)]
    assert coherences[1] > coherences[0] + 0.01


def test_all_rows_without_a_common_column_have_cosine_dissimilarity_one(texts):
    X = sp.csr_array(texts)
    apart = sparse_dissimilarity(X, X, "cosine")[(X @ X.T).toarray() == 0]
    assert len(apart) > 1000
    assert (apart[apart > 0] == 1).all()


@pytest.mark.parametrize("teacher", [False, True])
def test_sparse_rows_are_never_converted_to_dense(texts, teacher, monkeypatch):
    shapes = []

    def recorded(self, *args, original=sp.csr_array.toarray, **options):
        shapes.append(self.shape)
        return original(self, *args, **options)

    for kind in (sp.csr_array, sp.csr_matrix):
        monkeypatch.setattr(kind, "toarray", recorded)
        monkeypatch.setattr(kind, "todense", None)
    targets = (load_wordnet_glosses().data[:300],) if teacher else ()
    small().fit(texts, *targets).transform(texts)
    assert texts.shape not in shapes
    assert all(columns <= 300 for _, columns in shapes)
