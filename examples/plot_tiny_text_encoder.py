"""
A text encoder of four megabytes
================================

The teacher is a transformer of 90 megabytes. The student is a hashed embedding bag: pieces of
words, three to five letters long, are hashed to one of 15,000 numbers, each number has an embedding
of 64 dimensions, and that of a text is their weighted sum. It reads raw text, has no vocabulary to
keep, and needs no deep learning to run: scikit-learn's vectorizer and one sparse product.
"""

# %%
# A pipeline is the encoder. Its last step learns the embeddings of the pieces so that texts come in
# the order in which the teacher sees them.

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

N_HASHES, N_COMPONENTS = 15_000, 64


def encoder(**parameters):
    """Raw text to 64 numbers."""
    return make_pipeline(
        HashingVectorizer(
            n_features=N_HASHES,
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
# Beside it: the same encoder by regression alone, ``max_iter=0``, which is where it starts; and
# what is usual, a ridge regression from words to all dimensions of the teacher. Of so few texts the
# regression has learned nearly all that there is; the pieces of words are what gains most.

glosses = load_wordnet_glosses()
train_text, test_text, train_teacher, test_teacher, train_label, test_label = train_test_split(
    glosses.text, glosses.data, glosses.target, test_size=1000, random_state=0
)
encoders = {
    "bag, distilled": encoder(),
    "bag, by regression": encoder(max_iter=0),
    "words, ridge to 384": make_pipeline(
        TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2, dtype=np.float32),
        Ridge(0.8, solver="sparse_cg"),
    ),
}


def knn_accuracy(train, test):
    """Accuracy of the word classes by the ten nearest of the training texts."""
    classifier = KNeighborsClassifier(10, metric="cosine", weights="distance")
    return classifier.fit(train, train_label).score(test, test_label)


def encode(model, text):
    """What a pipeline makes of texts, whether it ends in a transformer or in a regression."""
    return model.transform(text) if hasattr(model, "transform") else model.predict(text)


majority = np.bincount(train_label).max() / len(train_label)
print(f"{'':22}MB of float32  texts/s  coherence  recall@10  k-NN accuracy")
print(
    f"{'teacher':22}{'90.0':>13}{'':>9}{1:>11.3f}{1:>11.3f}"
    f"{knn_accuracy(train_teacher, test_teacher):>15.3f}"
)
images = {}
for name, model in encoders.items():
    model.fit(train_text, train_teacher)
    start = perf_counter()
    images[name] = encode(model, test_text)
    speed = len(test_text) / (perf_counter() - start)
    n_inputs = model[:-1].transform(test_text[:1]).shape[1]
    megabytes = 4 * n_inputs * images[name].shape[1] / 1e6
    coherence = perception_coherence_score(test_teacher, images[name])
    recall = neighbor_recall_score(test_teacher, images[name])
    accuracy = knn_accuracy(encode(model, train_text), images[name])
    print(
        f"{name:22}{megabytes:>13.1f}{speed:>9,.0f}{coherence:>11.3f}{recall:>11.3f}"
        f"{accuracy:>15.3f}"
    )
print(f"{'majority class':22}{'':>44}{majority:>15.3f}")

# %%
# Near and far: where each keeps the teacher's order.

CoherenceCurveDisplay.from_embeddings(test_teacher, images)
plt.show()

# %%
# A new text needs no preparation.

question = ["a small dwelling for a pet animal"]
similarities = encode(encoders["bag, distilled"], question) @ images["bag, distilled"].T
for nearest in np.argsort(-similarities[0])[:3]:
    print(f"{similarities[0, nearest]:.2f}  {test_text[nearest]}")
