"""
Compress embeddings
===================

Embeddings of 384 dimensions are reduced to 16, 64 and 96 dimensions with PCA,
:class:`~sklearn.decomposition.TruncatedSVD` and :class:`~skperco.CoherenceDistiller`, and evaluated
on texts that were not used for fitting:

- **coherence**: triplet accuracy, the probability that two texts are ordered by their dissimilarity
  to a third as in the original embeddings (chance is ½);
- **recall@10**: the share of the ten nearest neighbors that are kept.

There are two kinds of embedding: the output of a sentence encoder, which was trained for cosine
similarity, and one of its hidden layers, which stands for models that were not.
"""

import os
from pathlib import Path
from time import perf_counter

import matplotlib.pyplot as plt
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.model_selection import train_test_split

from skperco import CoherenceDistiller, neighbor_recall_score, perception_coherence_score
from skperco.datasets import load_wordnet_glosses

# %%
# The data are 5,000 short definitions from WordNet, embedded by all-MiniLM-L6-v2. The original
# embeddings are compared by cosine, and so are the reduced ones, with one exception: PCA subtracts
# the mean, so its output is compared by whichever of cosine and euclidean distance gives the higher
# coherence.

METHODS = (PCA, TruncatedSVD, CoherenceDistiller)
DIMENSIONS = {"final": (16, 64, 96), "hidden": (16, 64)}
PCA_METRIC = {"final": "cosine", "hidden": "euclidean"}


def evaluate(method, n_components, train, test, metric):
    """Coherence, recall@10 and the seconds of the fit."""
    start = perf_counter()
    model = method(n_components=n_components, random_state=0).fit(train)
    seconds = perf_counter() - start
    pair = test, model.transform(test)
    coherence = perception_coherence_score(*pair, metric=metric, teacher_metric="cosine")
    recall = neighbor_recall_score(*pair, n_neighbors=10, metric=metric, teacher_metric="cosine")
    return coherence, recall, seconds


# %%
# Fit on 3,500 texts, evaluate on the other 1,500.

row = "{:<10} {:<19} {:>10} {:>10} {:>10} {:>15}".format
header = row("embedding", "method", "dimensions", "coherence", "recall@10", "seconds to fit")
print(f"{header}\n{'-' * len(header)}", flush=True)

results = {}
for representation, dimensions in DIMENSIONS.items():
    embeddings = load_wordnet_glosses(representation=representation).data
    train, test = train_test_split(embeddings, test_size=1500, random_state=0)
    for n_components in dimensions:
        for method in METHODS:
            metric = PCA_METRIC[representation] if method is PCA else "cosine"
            coherence, recall, seconds = evaluate(method, n_components, train, test, metric)
            results[representation, n_components, method] = coherence, recall, seconds
            figures = (f"{coherence:.3f}", f"{recall:.3f}", f"{seconds:.1f}")
            print(row(representation, method.__name__, n_components, *figures), flush=True)

# %%
# TruncatedSVD is the strongest baseline. It does not subtract the mean, which is why it keeps
# cosine similarities better than PCA, and it is the initialization of the distiller. The training
# mostly increases the recall of the final embeddings, and both scores of the hidden layer. It takes
# seconds, where TruncatedSVD takes a fraction of one.

print("\nCoherenceDistiller compared with TruncatedSVD:")
for representation, dimensions in DIMENSIONS.items():
    for n_components in dimensions:
        svd = results[representation, n_components, TruncatedSVD]
        distiller = results[representation, n_components, CoherenceDistiller]
        print(
            f"  {representation:<6} to {n_components}: coherence {distiller[0] - svd[0]:+.3f}, "
            f"recall@10 {distiller[1] - svd[1]:+.3f}, "
            f"{distiller[2] / svd[2]:.0f} times the seconds"
        )

# %%
# The same figures as a picture: further right is better.

STYLES = {
    PCA: {"color": "#7f8c9b", "marker": "s", "s": 90},
    TruncatedSVD: {"color": "#e08a1e", "marker": "D", "s": 120},
    CoherenceDistiller: {"color": "#0b6e8f", "marker": "o", "s": 70},
}
NAMES = {"final": "Final embeddings", "hidden": "Hidden layer"}

figure, axes = plt.subplots(
    2,
    2,
    figsize=(9.5, 4.6),
    sharex="col",
    height_ratios=[len(dimensions) for dimensions in DIMENSIONS.values()],
    layout="constrained",
)
for (representation, dimensions), panels in zip(DIMENSIONS.items(), axes, strict=True):
    for score, ax in enumerate(panels):
        for position, n_components in enumerate(dimensions):
            kept = [results[representation, n_components, method][score] for method in METHODS]
            ax.hlines(position, min(kept), max(kept), color="#c9d1d9", linewidth=3, zorder=1)
            for method, value in zip(METHODS, kept, strict=True):
                label = method.__name__ if position == 0 else None
                ax.scatter(value, position, label=label, zorder=2, ec="white", **STYLES[method])
            ax.annotate(
                f"{kept[-1]:.3f}",
                (kept[-1], position),
                xytext=(11, 0),
                textcoords="offset points",
                va="center",
                color=STYLES[CoherenceDistiller]["color"],
            )
        ax.set_yticks(range(len(dimensions)), [f"384 → {size}" for size in dimensions])
        ax.set_ylim(len(dimensions) - 0.5, -0.5)
        ax.margins(x=0.14)
        ax.grid(axis="x", alpha=0.3)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    panels[0].set_title(NAMES[representation], loc="left", fontweight="bold", fontsize="medium")
    panels[1].set_yticklabels([])
axes[1, 0].set_xlabel("coherence (higher is better)")
axes[1, 1].set_xlabel("recall@10 (higher is better)")
handles, labels = axes[0, 0].get_legend_handles_labels()
figure.legend(handles, labels, loc="outside upper right", ncols=3, frameon=False)

picture = Path(globals().get("__file__", "here.py")).with_name("compress_embeddings.png")
figure.savefig(picture, dpi=150)
print(f"\nThe picture: {os.path.relpath(picture)}")
plt.show()
