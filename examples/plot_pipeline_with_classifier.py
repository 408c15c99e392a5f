"""
Classify compressed embeddings
==============================

A classifier that learns from sentence embeddings need not see all of their 384 dimensions. Here a
logistic regression sorts texts into the 45 categories of WordNet by 8 to 64 dimensions, which PCA
or :class:`~skperco.CoherenceDistiller` makes of the embeddings. The two steps are a pipeline, which
is fitted and applied as one. How much accuracy do the saved bytes cost?
"""

import matplotlib.pyplot as plt
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from skperco import CoherenceDistiller, perception_coherence_score
from skperco.datasets import load_wordnet_glosses

# %%
# The data: what WordNet says about the senses of words, as all-MiniLM-L6-v2 embeds it, and the
# category of every sense, such as ``noun.animal`` or ``verb.motion``.

glosses = load_wordnet_glosses()
train, test, train_category, test_category = train_test_split(
    glosses.data, glosses.target, test_size=3000, random_state=0
)
full_size = train.shape[1]
print(f"{len(train):,} embeddings of {full_size} dimensions to fit, {len(test):,} to judge by")
print(f"{len(glosses.target_names)} categories")

# %%
# The pipeline hands the categories to each of its steps, and so to the student. A ``y`` of one
# dimension is never a teacher: the student leaves the categories to the classifier, and learns from
# the embeddings alone, as PCA does. Ten steps are few, and do for a quick example.

SIZES = (8, 16, 32, 64)
REDUCERS = {
    "PCA": [PCA(size, random_state=0) for size in SIZES],
    "CoherenceDistiller": [CoherenceDistiller(size, max_iter=10, random_state=0) for size in SIZES],
}


def classifier():
    return LogisticRegression(C=10, max_iter=1000)


full_accuracy = classifier().fit(train, train_category).score(test, test_category)
results = {}
for name, reducers in REDUCERS.items():
    for size, reducer in zip(SIZES, reducers, strict=True):
        model = make_pipeline(reducer, classifier()).fit(train, train_category)
        accuracy = model.score(test, test_category)
        coherence = perception_coherence_score(test, model[0].transform(test), n_anchors=500)
        results[name, size] = (accuracy, coherence)

# %%
# A float32 takes four bytes. *Coherence* is how often a text and two others come out in the right
# order, that is, how often the one that was nearer still is: here as seen from 500 of the texts.

row = "{:<20} {:>10} {:>12} {:>10} {:>10}".format
header = row("method", "dimensions", "bytes/vector", "accuracy", "coherence")
print(f"\n{header}\n{'-' * len(header)}")
print(row("(all dimensions)", full_size, f"{4 * full_size:,}", f"{full_accuracy:.3f}", "1.000"))
for size in SIZES:
    for name in REDUCERS:
        accuracy, coherence = results[name, size]
        print(row(name, size, 4 * size, f"{accuracy:.3f}", f"{coherence:.3f}"))

# %%
# To this classifier, PCA and the student are about as good as each other: it weighs every dimension
# for itself, and all it needs is directions in which the categories differ. What the student adds,
# the order of near and far, is for uses without labels: a search, a recommendation. It costs no
# accuracy here. Judged on 3,000 texts, an accuracy is known to about one point either way, so that
# differences as small as these say little.

print("\nCoherenceDistiller less PCA, in points:")
for size in SIZES:
    ours, pca = results["CoherenceDistiller", size], results["PCA", size]
    accuracy, coherence = (100 * (a - b) for a, b in zip(ours, pca, strict=True))
    print(f"  {size:>2} dimensions: accuracy {accuracy:+.1f}, coherence {coherence:+.1f}")

# %%
# The same as a picture: higher is better, further left is smaller.

STYLES = {
    "PCA": {"color": "#0072B2", "marker": "s", "linestyle": ":"},
    "CoherenceDistiller": {"color": "#000000", "marker": "o", "linestyle": "-"},
}

figure, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
ax.axhline(full_accuracy, color="#999999", linewidth=1)
for name, style in STYLES.items():
    accuracies = [results[name, size][0] for size in SIZES]
    ax.plot([4 * size for size in SIZES], accuracies, label=name, markerfacecolor="none", **style)
ax.plot(4 * full_size, full_accuracy, "D", color="#999999", label=f"all {full_size} dimensions")
ax.set_xscale("log", base=2)
ticks = [4 * size for size in (*SIZES, full_size)]
ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
ax.set_xlabel("bytes per vector")
ax.set_ylabel("accuracy")
ax.grid(alpha=0.3)
ax.spines[["top", "right"]].set_visible(False)
ax.legend(loc="lower right")
ax.set_title("What a classifier makes of fewer bytes, on unseen texts")
plt.show()
