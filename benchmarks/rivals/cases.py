"""Data sets: training and test rows, each with the student's input and the teacher's embeddings."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skperco.datasets import load_wordnet_glosses

GLOSSES_TO_FIT = 3500
DIGITS_TO_FIT = 1200
_TUMORS_TO_FIT = 400


class Rows(NamedTuple):
    """Input of the student (X), embeddings of the teacher, and labels or None, of the same rows."""

    X: np.ndarray | sp.csr_array
    teacher: np.ndarray
    labels: np.ndarray | None

    def take(self, indices):
        """The rows with these indices."""
        return Rows(*(None if part is None else part[indices] for part in self))

    def split(self, n_fit):
        """The first `n_fit` rows for training, and the others for testing."""
        return self.take(slice(n_fit)), self.take(slice(n_fit, None))


class Case(NamedTuple):
    """A data set, split into training and test rows."""

    name: str
    metric: str
    fit: Rows
    test: Rows
    # Whether the input of the student is the teacher's embedding.
    compression: bool


def load_case(name):
    """The case with this name, a key of `CASES`."""
    return CASES[name]()


def _glosses(name, representation):
    embeddings, categories = load_wordnet_glosses(representation=representation, return_X_y=True)
    return _compression(name, "cosine", embeddings, categories, GLOSSES_TO_FIT)


def _digits():
    return _compression("digits", "euclidean", *shuffled_digits(), DIGITS_TO_FIT)


def shuffled_digits():
    """Digits and labels in a fixed random order, since the data set is ordered by writer."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    return images[order].astype(np.float32), labels[order]


def _tumors():
    """Measurements of tumors, standardized on the training rows."""
    table, labels = load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(table))
    scaler = StandardScaler().fit(table[order[:_TUMORS_TO_FIT]])
    rows = scaler.transform(table[order]).astype(np.float32)
    return _compression("tumors", "euclidean", rows, labels[order], _TUMORS_TO_FIT)


def vectorized_glosses(name, vectorizer):
    """Glosses after an unfitted vectorizer, which is fitted to the training texts."""
    glosses = load_wordnet_glosses()
    vectorizer.fit(glosses.text[:GLOSSES_TO_FIT])
    X = sp.csr_array(vectorizer.transform(glosses.text))
    rows = Rows(X, glosses.data, glosses.target)
    return Case(name, "cosine", *rows.split(GLOSSES_TO_FIT), compression=False)


def _glosses_tfidf(name, n_words):
    return vectorized_glosses(name, words(n_words))


def words(n_words):
    """Vectorizer of TF-IDF weights of word n-grams, with up to `n_words` words."""
    return TfidfVectorizer(sublinear_tf=True, ngram_range=(1, n_words), min_df=2, dtype=np.float32)


def character_ngrams(n_hashes):
    """Vectorizer of TF-IDF weights of character n-grams, hashed to `n_hashes` features."""
    return make_pipeline(
        HashingVectorizer(
            n_features=n_hashes,
            analyzer="char_wb",
            ngram_range=(3, 5),
            alternate_sign=False,
            norm=None,
            dtype=np.float32,
        ),
        TfidfTransformer(sublinear_tf=True),
    )


CASES = {
    "glosses": partial(_glosses, "glosses", "final"),
    "glosses-hidden": partial(_glosses, "glosses-hidden", "hidden"),
    "digits": _digits,
    "tumors": _tumors,
    "glosses-tfidf": partial(_glosses_tfidf, "glosses-tfidf", 2),
    "glosses-words": partial(_glosses_tfidf, "glosses-words", 1),
}


def case_from_files(teacher, X=None, labels=None, *, n_fit, metric):
    """A case from .npy files with matching rows, of which the first `n_fit` are for training."""
    name = Path(teacher).stem
    teacher = np.load(teacher, allow_pickle=False)
    labels = None if labels is None else np.load(labels, allow_pickle=False)
    if not 0 < n_fit < len(teacher):
        raise ValueError(f"rows to fit must be between 1 and {len(teacher) - 1}, got {n_fit}.")
    if X is None:
        return _compression(name, metric, teacher, labels, n_fit)
    X = np.load(X, allow_pickle=False)
    if len(X) != len(teacher):
        raise ValueError(f"teacher and input have {len(teacher)} and {len(X)} rows.")
    return Case(name, metric, *Rows(X, teacher, labels).split(n_fit), compression=False)


def _compression(name, metric, embeddings, labels, n_fit):
    return Case(name, metric, *Rows(embeddings, embeddings, labels).split(n_fit), compression=True)
