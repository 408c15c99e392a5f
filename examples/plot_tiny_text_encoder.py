"""
A text encoder of four megabytes
================================

The teacher is a transformer of 90 megabytes. The student is a hashed embedding bag: character
n-grams of three to five letters are hashed to 15,000 buckets, each bucket has a 64-dimensional
embedding, and a text is encoded as the weighted sum of the embeddings of its n-grams. It reads raw
text, has no vocabulary, and consists of scikit-learn's vectorizer and a sparse matrix product.
"""

# %%
# The encoder is a pipeline. Its last step learns the embeddings of the n-grams from the rankings of
# the teacher.

from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import (
    HashingVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
)
from sklearn.linear_model import Ridge
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from skperco import (
    CoherenceCurveDisplay,
    CoherenceDistiller,
    neighbor_recall_score,
    perception_coherence_score,
)
from skperco.datasets import load_wordnet_glosses

N_BUCKETS, N_COMPONENTS = 15_000, 64


def encoder(**parameters):
    """Pipeline from raw text to 64 dimensions."""
    return make_pipeline(
        HashingVectorizer(
            n_features=N_BUCKETS,
            analyzer="char_wb",
            ngram_range=(3, 5),
            alternate_sign=False,
            norm=None,
            dtype=np.float32,
        ),
        TfidfTransformer(sublinear_tf=True),
        CoherenceDistiller(N_COMPONENTS, random_state=0, **parameters),
    )


# %%
# It is compared with its initialization by ridge regression, ``max_iter=0``, and with ridge
# regression from TF-IDF vectors of words to all dimensions of the teacher. With so few texts,
# training improves little on the initialization; most of the gain comes from the character n-grams.

glosses = load_wordnet_glosses()
train_text, test_text, train_teacher, test_teacher, train_label, test_label = train_test_split(
    glosses.text, glosses.data, glosses.target, test_size=1000, random_state=0
)
encoders = {
    "n-grams, trained": encoder(),
    "n-grams, max_iter=0": encoder(max_iter=0),
    "words, ridge to 384": make_pipeline(
        TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2, dtype=np.float32),
        Ridge(0.8, solver="sparse_cg"),
    ),
}


def knn_accuracy(train, test):
    """Accuracy of a 10-nearest-neighbor classifier of the categories."""
    classifier = KNeighborsClassifier(10, metric="cosine", weights="distance")
    return classifier.fit(train, train_label).score(test, test_label)


def encode(model, text):
    """Embeddings of texts by a pipeline that ends in a transformer or a regressor."""
    return model.transform(text) if hasattr(model, "transform") else model.predict(text)


majority = np.bincount(train_label).max() / len(train_label)
print(f"{'':22}MB of float32  texts/s  coherence  recall@10  k-NN accuracy")
print(
    f"{'teacher':22}{'90.0':>13}{'':>9}{1:>11.3f}{1:>11.3f}"
    f"{knn_accuracy(train_teacher, test_teacher):>15.3f}"
)
embeddings = {}
for name, model in encoders.items():
    model.fit(train_text, train_teacher)
    start = perf_counter()
    embeddings[name] = encode(model, test_text)
    speed = len(test_text) / (perf_counter() - start)
    n_inputs = model[:-1].transform(test_text[:1]).shape[1]
    megabytes = 4 * n_inputs * embeddings[name].shape[1] / 1e6
    coherence = perception_coherence_score(test_teacher, embeddings[name])
    recall = neighbor_recall_score(test_teacher, embeddings[name])
    accuracy = knn_accuracy(encode(model, train_text), embeddings[name])
    print(
        f"{name:22}{megabytes:>13.1f}{speed:>9,.0f}{coherence:>11.3f}{recall:>11.3f}"
        f"{accuracy:>15.3f}"
    )
print(f"{'majority class':22}{'':>44}{majority:>15.3f}")

# %%
# Coherence among the nearest references of each anchor, from a few percent to all.

CoherenceCurveDisplay.from_embeddings(test_teacher, embeddings)
plt.show()

# %%
# Search with a new text.

query = ["a small dwelling for a pet animal"]
similarities = encode(encoders["n-grams, trained"], query) @ embeddings["n-grams, trained"].T
for nearest in np.argsort(-similarities[0])[:3]:
    print(f"{similarities[0, nearest]:.2f}  {test_text[nearest]}")
