"""
Replace a model by a cheaper one
================================

A neural network embeds texts well, and slowly. Can the words of a text alone, weighed by TF-IDF,
tell which other texts are near? Not as well as the network, but much of what can be known from
the words fits into few dimensions: here a student with 64 learns the order that the network,
its teacher, sees, and is compared with ridge regression onto the teacher's 384 dimensions.
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
# The student sees sparse word counts; the teacher is all-MiniLM-L6-v2, whose embeddings come with
# the texts. Of 1,500 texts neither regression nor student sees anything before they are judged.

glosses = load_wordnet_glosses()
train_text, test_text, train_teacher, test_teacher = train_test_split(
    glosses.text, glosses.data, test_size=1500, random_state=0
)
vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=2, dtype=np.float32)
train = vectorizer.fit_transform(train_text)
test = vectorizer.transform(test_text)
print(f"{train.shape[0]:,} texts to fit, {train.shape[1]:,} different words in them")

# %%
# Ridge regression imitates every coordinate of the teacher. Scores take (teacher, student) as
# scikit-learn's take (true, predicted), so that they can choose its strength.

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
# Small from there: the leading directions of what the regression predicts.

start = perf_counter()
leading = TruncatedSVD(n_components=64, random_state=0).fit(ridge.predict(train))
report("ridge, leading 64", leading.transform(ridge.predict(test)), start)

# %%
# The student learns the order of near and far instead of the coordinates. Given a second argument
# of two dimensions, it takes that for its teacher.

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
# How it looks from single texts: those that the student perceives best, middling and worst, each
# with its three nearest. A star marks what teacher and student both name.


def nearest(embeddings):
    """The three nearest of every row, without itself."""
    similarity = cosine_similarity(embeddings)
    np.fill_diagonal(similarity, -np.inf)
    return np.argsort(-similarity, axis=1)[:, :3]


by_teacher, by_student = nearest(test_teacher), nearest(small)
perceived = np.argsort(perception_coherence_samples(test_teacher, small))
for case, place in (("best", -1), ("middling", len(perceived) // 2), ("worst", 0)):
    text = perceived[place]
    print(f"\n{case}: {test_text[text]}")
    for name, found in (("teacher", by_teacher[text]), ("student", by_student[text])):
        for other in found:
            both = "*" if other in by_teacher[text] and other in by_student[text] else " "
            print(f"  {name} {both} {test_text[other]}")

# %%
# As a picture.

figure, axes = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained", sharey=True)
labels = [f"{name}\n{size} dimensions" for name, (size, *_) in results.items()]
for ax, title, column in zip(axes, ("coherence (a guess: 0.5)", "recall@10"), (1, 2), strict=True):
    scores = [result[column] for result in results.values()]
    colors = ["#999999"] * (len(scores) - 1) + ["#0072B2"]
    ax.bar_label(ax.barh(labels, scores, color=colors, height=0.6), fmt="%.3f", padding=3)
    ax.set_title(title)
    ax.spines[["top", "right"]].set_visible(False)
    ax.margins(x=0.15)
axes[0].set_xlim(left=0.5)
axes[0].invert_yaxis()
figure.suptitle("Words in, the teacher's order out, on unseen texts")
plt.show()
