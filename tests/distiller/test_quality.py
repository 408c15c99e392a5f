"""Embeddings of new rows, and the score."""

import numpy as np
import pytest
from builders import small
from sklearn.decomposition import PCA

from skperco import CoherenceDistiller, neighbor_recall_score, perception_coherence_score

STUDENTS = pytest.mark.parametrize("student", ["linear", "mlp"])


@pytest.mark.parametrize("n_components", [16, 48])
def test_embeddings_of_new_rows_score_higher_than_those_of_pca(glosses, n_components):
    known, new = glosses.data[:1200], glosses.data[2000:3000]
    distiller = CoherenceDistiller(
        n_components, batch_size=128, n_references=256, max_iter=60, random_state=0, device="cpu"
    )
    found = distiller.fit(known).transform(new)
    by_pca = PCA(n_components, random_state=0).fit(known).transform(new)
    for score in (perception_coherence_score, neighbor_recall_score):
        assert score(new, found) > score(new, by_pca)


@STUDENTS
def test_early_stopping_rejects_a_training_that_diverges(rows, student):
    for seed in range(3):
        distiller = small(student=student, learning_rate_init=100.0, random_state=seed).fit(rows)
        chosen = distiller.validation_fractions_.index(distiller.fraction_)
        scores = distiller.validation_scores_
        assert scores[-1] < scores[0] - 0.03
        assert scores[chosen] >= scores[0] - 0.0005


def test_embeddings_of_new_sparse_rows_agree_with_the_teacher(glosses, texts):
    # A random student scores 0.5.
    distiller = small(32, max_iter=30).fit(texts[:600], glosses.data[:600])
    assert distiller.score(texts[600:], glosses.data[600:700]) > 0.55


def test_score_without_a_teacher_compares_with_the_rows(rows, new_rows):
    distiller = small().fit(rows)
    expected = perception_coherence_score(new_rows, distiller.transform(new_rows))
    assert distiller.score(new_rows) == expected
    assert distiller.score(new_rows, np.arange(len(new_rows))) == expected


def test_score_uses_the_sample_weights_and_both_metrics(rows, new_rows):
    teacher, weights = new_rows[:, :50], np.arange(len(new_rows))
    distiller = small(metric="euclidean", teacher_metric="cosine").fit(rows)
    found = distiller.score(new_rows, teacher, sample_weight=weights)
    expected = perception_coherence_score(
        teacher,
        distiller.transform(new_rows),
        metric="euclidean",
        teacher_metric="cosine",
        sample_weight=weights,
    )
    assert found == expected
