"""
Replace a model with a cheaper one
==================================

A neural network embeds texts well but slowly. Can TF-IDF vectors predict which texts are near each
other according to the network? Here the network is the teacher of a linear student, which learns
the teacher's rankings with 64 dimensions. It is compared with ridge regression onto the teacher's
384 dimensions.
"""

from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.metrics import make_scorer
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.model_selection import GridSearchCV, ShuffleSplit, train_test_split

from skperco import (
    CoherenceDistiller,
    neighbor_recall_score,
    perception_coherence_samples,
    perception_coherence_score,
)
from skperco.datasets import load_wordnet_glosses

# %%
# The input of the student is a sparse TF-IDF matrix. The teacher is all-MiniLM-L6-v2, whose
# embeddings are part of the data set. 1,500 texts are held out for testing.

glosses = load_wordnet_glosses()
train_text, test_text, train_teacher, test_teacher = train_test_split(
    glosses.text, glosses.data, test_size=1500, random_state=0
)
vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=2, dtype=np.float32)
train = vectorizer.fit_transform(train_text)
test = vectorizer.transform(test_text)
print(f"{train.shape[0]:,} texts for training, {train.shape[1]:,} words")

# %%
# Ridge regression predicts each coordinate of the teacher. Scores take (teacher, student) as those
# of scikit-learn take (y_true, y_pred), so that a grid search can use them to select ``alpha``.

results = {}


def report(name, small, start):
    seconds = perf_counter() - start
    coherence = perception_coherence_score(test_teacher, small)
    recall = neighbor_recall_score(test_teacher, small, n_neighbors=10)
    results[name] = (small.shape[1], coherence, recall, seconds)
    print(f"  {name}: {seconds:.1f} s", flush=True)


start = perf_counter()
search = GridSearchCV(
    Ridge(solver="sparse_cg"),
    {"alpha": [0.2, 0.4, 0.8]},
    scoring=make_scorer(neighbor_recall_score),
    cv=ShuffleSplit(n_splits=1, test_size=0.1, random_state=0),
)
ridge = search.fit(train, train_teacher)
report("ridge", ridge.predict(test), start)

# %%
# The regression reduced to 64 dimensions by a truncated SVD of its predictions.

start = perf_counter()
leading = TruncatedSVD(n_components=64, random_state=0).fit(ridge.predict(train))
report("ridge + SVD", leading.transform(ridge.predict(test)), start)

# %%
# The student learns the rankings of the teacher instead of its coordinates. A two-dimensional ``y``
# is the teacher.

start = perf_counter()
student = CoherenceDistiller(n_components=64, random_state=0).fit(train, train_teacher)
small = student.transform(test)
report("CoherenceDistiller", small, start)

# %%
row = "{:<20} {:>10} {:>12} {:>10} {:>10} {:>8}".format
header = row("method", "dimensions", "bytes/vector", "coherence", "recall@10", "seconds")
print(f"\n{header}\n{'-' * len(header)}")
for name, (size, coherence, recall, seconds) in results.items():
    figures = (f"{coherence:.3f}", f"{recall:.3f}", f"{seconds:.1f}")
    print(row(name, size, f"{4 * size:,}", *figures))

# %%
# The texts with the highest, the median and the lowest coherence, each with its three nearest
# neighbors. A star marks neighbors that teacher and student have in common.


def nearest(embeddings):
    """The three nearest neighbors of each row."""
    similarity = cosine_similarity(embeddings)
    np.fill_diagonal(similarity, -np.inf)
    return np.argsort(-similarity, axis=1)[:, :3]


by_teacher, by_student = nearest(test_teacher), nearest(small)
order = np.argsort(perception_coherence_samples(test_teacher, small))
for case, position in (("highest", -1), ("median", len(order) // 2), ("lowest", 0)):
    text = order[position]
    print(f"\n{case}: {test_text[text]}")
    for name, found in (("teacher", by_teacher[text]), ("student", by_student[text])):
        for other in found:
            both = "*" if other in by_teacher[text] and other in by_student[text] else " "
            print(f"  {name} {both} {test_text[other]}")

# %%
# The scores as a figure.

figure, axes = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained", sharey=True)
labels = [f"{name}\n{size} dimensions" for name, (size, *_) in results.items()]
for ax, title, column in zip(axes, ("coherence (chance: 0.5)", "recall@10"), (1, 2), strict=True):
    scores = [result[column] for result in results.values()]
    colors = ["#999999"] * (len(scores) - 1) + ["#0072B2"]
    ax.bar_label(ax.barh(labels, scores, color=colors, height=0.6), fmt="%.3f", padding=3)
    ax.set_title(title)
    ax.spines[["top", "right"]].set_visible(False)
    ax.margins(x=0.15)
axes[0].set_xlim(left=0.5)
axes[0].invert_yaxis()
figure.suptitle("Agreement with the teacher on held-out texts")
plt.show()
