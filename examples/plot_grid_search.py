"""
Choose parameters by grid search
================================

The ``score`` of :class:`~skperco.CoherenceDistiller` is the coherence with the teacher, so that
scikit-learn's ``GridSearchCV`` can select its parameters by cross-validation. A pipeline that ends
in another transformer has no score; :class:`~skperco.PerceptionCoherenceScorer` supplies one. Here
it compares ways to store an embedding in 32 bytes: few dimensions with many bits each, or many
dimensions with few bits.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skperco import CoherenceDistiller, PerceptionCoherenceScorer, neighbor_recall_score
from skperco.datasets import load_wordnet_glosses

# %%
# The data: definitions from WordNet, embedded by all-MiniLM-L6-v2. To keep the example fast, it
# uses only 1,500 texts and 10 training steps, and no early stopping, which would need a validation
# set in each fit.

embeddings = load_wordnet_glosses().data[:1500]
distiller = CoherenceDistiller(max_iter=10, early_stopping=False, random_state=0)

# %%
# By default, the search uses the ``score`` of the estimator, *coherence*: how often two texts are
# ordered by their dissimilarity to a third, the anchor, as before compression. Here it is computed
# by two-fold cross-validation.

search = GridSearchCV(distiller, {"n_components": [8, 16], "rank_power": [0, 0.5, 1]}, cv=2)
search.fit(embeddings)

found = search.cv_results_
KEYS = ("rank_test_score", "params", "mean_test_score")
row = "{:>4} {:>12} {:>10} {:>10}".format
header = row("rank", "n_components", "rank_power", "coherence")
print(f"{header}\n{'-' * len(header)}")
for i in np.argsort(found["rank_test_score"]):
    rank, params, coherence = (found[key][i] for key in KEYS)
    print(row(rank, params["n_components"], params["rank_power"], f"{coherence:.4f}"))

# %%
# Coherence increases with the number of dimensions, so the search selects the largest. It is
# highest with ``rank_power=1``, which optimizes the order of all texts. Smaller values of
# ``rank_power`` give more weight to the nearest neighbors, which hardly influence coherence; the
# next search therefore has a second score for them.
#
# The next search compares embeddings of 32 bytes. The second step of the pipeline quantizes each
# row to integers of a given number of bits. The scale differs from row to row, which does not
# change cosine similarities. (Packing the integers into bytes is omitted.)


def quantize(X, bits):
    largest = 2 ** (bits - 1) - 1
    return np.round(largest * X / np.abs(X).max(axis=1, keepdims=True))


pipeline = make_pipeline(distiller, FunctionTransformer(quantize))
FORMATS = [(8, 32), (16, 16), (32, 8), (64, 4), (128, 2)]
grid = [
    {
        "coherencedistiller__n_components": [size],
        "functiontransformer__kw_args": [{"bits": bits}],
    }
    for size, bits in FORMATS
]

# %%
# The scorer compares the output of the whole pipeline with its input. Its default is coherence; it
# takes any other score of teacher and student, such as *recall@10*, the share of the ten nearest
# neighbors that are still among the ten nearest.

SCORERS = {
    "coherence": PerceptionCoherenceScorer(),
    "recall@10": PerceptionCoherenceScorer(neighbor_recall_score),
}
by_format = GridSearchCV(pipeline, grid, scoring=SCORERS, refit=False, cv=2).fit(embeddings)

row = "{:>10} {:>11} {:>12} {:>10} {:>10}".format
header = row("dimensions", "bits each", "bytes/vector", *SCORERS)
print(f"\n{header}\n{'-' * len(header)}")
kept = {name: by_format.cv_results_[f"mean_test_{name}"] for name in SCORERS}
for (size, bits), *scores in zip(FORMATS, *kept.values(), strict=True):
    print(row(size, bits, size * bits // 8, *(f"{score:.3f}" for score in scores)))

# %%
# More dimensions with fewer bits are better, down to four bits. Two bits, which allow only the
# values -1, 0 and 1 here, are too few.

figure, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
STYLES = {
    "coherence": {"color": "#000000", "marker": "o", "linestyle": "-"},
    "recall@10": {"color": "#0072B2", "marker": "s", "linestyle": ":"},
}
for name, style in STYLES.items():
    ax.plot(kept[name], label=name, **style)
ax.set_xticks(range(len(FORMATS)), [f"{size} ×\n{bits} bits" for size, bits in FORMATS])
ax.set_xlabel("dimensions × bits per dimension (32 bytes)")
ax.set_ylim(0, 1)
ax.set_ylabel("score")
ax.margins(x=0.08)
ax.grid(alpha=0.3)
ax.spines[["top", "right"]].set_visible(False)
ax.legend(loc="lower center", ncols=2)
ax.set_title("384 dimensions compressed to 32 bytes, held-out texts")
plt.show()
