"""
Choose parameters by search
===========================

:class:`~skperco.CoherenceDistiller` has a ``score``, the coherence with the teacher, so that
scikit-learn's ``GridSearchCV`` can rank its parameters on rows that a fit has not seen. A pipeline
that ends in another transformer has no score: :class:`~skperco.PerceptionCoherenceScorer` gives it
one. Here it says how to spend 32 bytes best, on a few exact numbers or on many rough ones.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skperco import CoherenceDistiller, PerceptionCoherenceScorer, neighbor_recall_score
from skperco.datasets import load_wordnet_glosses

# %%
# The data: what WordNet says about the senses of words, as all-MiniLM-L6-v2 embeds it. Fifteen
# hundred texts and ten steps of each fit are few, and do for a quick search. The search holds out
# texts itself, so that, for speed, a fit here holds out none to decide how far it goes.

embeddings = load_wordnet_glosses().data[:1500]
distiller = CoherenceDistiller(max_iter=10, early_stopping=False, random_state=0)

# %%
# Without a ``scoring``, the search ranks by the distiller's own score, *coherence*: how often a
# text and two others come out in the order in which the full embeddings put them. It fits one half
# of the texts and scores the other, then the other way round.

search = GridSearchCV(distiller, {"n_components": [8, 16], "rank_power": [0, 0.5, 1]}, cv=2)
search.fit(embeddings)

found = search.cv_results_
row = "{:>4} {:>12} {:>10} {:>10}".format
header = row("rank", "n_components", "rank_power", "coherence")
print(f"{header}\n{'-' * len(header)}")
for place in np.argsort(found["rank_test_score"]):
    tried, coherence = found["params"][place], found["mean_test_score"][place]
    rank = found["rank_test_score"][place]
    print(row(rank, tried["n_components"], tried["rank_power"], f"{coherence:.4f}"))

# %%
# More dimensions keep more: a search for their number finds the largest. As to ``rank_power``, at 1
# a fit serves the order of all texts, which is what coherence counts, and wins by a little. Towards
# 0 it serves the nearest texts, which coherence hardly looks at: the next search has a second score
# for them.
#
# It asks how to spend 32 bytes. The second step of a pipeline rounds the numbers of every row to
# whole ones that fit into so many bits. It scales each row on its own, which a cosine does not
# notice. (How to pack two numbers into a byte is left out.)


def rounded(X, bits):
    largest = 2 ** (bits - 1) - 1
    return np.round(largest * X / np.abs(X).max(axis=1, keepdims=True))


pipeline = make_pipeline(distiller, FunctionTransformer(rounded))
SPENDING = [(8, 32), (16, 16), (32, 8), (64, 4), (128, 2)]
grid = [
    {
        "coherencedistiller__n_components": [size],
        "functiontransformer__kw_args": [{"bits": bits}],
    }
    for size, bits in SPENDING
]

# %%
# The scorer compares what the whole pipeline returns with what goes in. It takes any function of
# teacher and student: coherence if none is given, or *recall@10*, how many of the ten nearest texts
# are still among the ten nearest.

SCORERS = {
    "coherence": PerceptionCoherenceScorer(),
    "recall@10": PerceptionCoherenceScorer(neighbor_recall_score),
}
spent = GridSearchCV(pipeline, grid, scoring=SCORERS, refit=False, cv=2).fit(embeddings)

row = "{:>10} {:>11} {:>12} {:>10} {:>10}".format
header = row("dimensions", "bits/number", "bytes/vector", *SCORERS)
print(f"\n{header}\n{'-' * len(header)}")
kept = {name: spent.cv_results_[f"mean_test_{name}"] for name in SCORERS}
for (size, bits), *scores in zip(SPENDING, *kept.values(), strict=True):
    print(row(size, bits, size * bits // 8, *(f"{score:.3f}" for score in scores)))

# %%
# Many rough numbers keep more than few exact ones, down to four bits. Two bits, which can tell only
# -1, 0 and 1 apart here, are too few.

figure, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
STYLES = {
    "coherence": {"color": "#000000", "marker": "o", "linestyle": "-"},
    "recall@10": {"color": "#0072B2", "marker": "s", "linestyle": ":"},
}
for name, style in STYLES.items():
    ax.plot(kept[name], label=name, **style)
ax.set_xticks(range(len(SPENDING)), [f"{size} of\n{bits} bits" for size, bits in SPENDING])
ax.set_xlabel("numbers per vector, in 32 bytes")
ax.set_ylim(0, 1)
ax.margins(x=0.08)
ax.grid(alpha=0.3)
ax.spines[["top", "right"]].set_visible(False)
ax.legend(loc="lower center", ncols=2)
ax.set_title("What 32 bytes keep of 384 dimensions, on held-out texts")
plt.show()
