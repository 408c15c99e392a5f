"""
Compress sentence embeddings
============================

Sentence embeddings of 384 dimensions take 1,536 bytes each. Here they are cut to 16, 32, 64 and
96 dimensions by PCA, by a singular value decomposition, and by
:class:`~skperco.CoherenceDistiller`, and judged on texts that none of them has seen:

- **coherence**: how often a text and two others come out in the right order, that is, how often
  the one that was nearer still is. A guess is right half of the time.
- **recall@10**: how many of the ten nearest texts are still among the ten nearest.

Everything is compared by cosine, as sentence embeddings are; PCA's output too, which does better by
cosine than by euclidean distance on these data.
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
# The data: what WordNet says about the senses of words, as all-MiniLM-L6-v2 embeds it.

train, test = train_test_split(load_wordnet_glosses().data, test_size=1500, random_state=0)
full_size = train.shape[1]
print(f"{len(train):,} embeddings of {full_size} dimensions to fit, {len(test):,} to judge by")

# %%
# Fit on one part of the texts, judge on the other.

METHODS = (PCA, TruncatedSVD, CoherenceDistiller)
SIZES = (16, 32, 64, 96)


def judge(method, size):
    """Coherence, recall@10 and the seconds of the fit."""
    start = perf_counter()
    model = method(n_components=size, random_state=0).fit(train)
    seconds = perf_counter() - start
    small = model.transform(test)
    return (
        perception_coherence_score(test, small),
        neighbor_recall_score(test, small, n_neighbors=10),
        seconds,
    )


results = {}
for method in METHODS:
    for size in SIZES:
        results[method, size] = judge(method, size)
        print(f"  {method.__name__} to {size}: {results[method, size][2]:.1f} s", flush=True)

# %%
# What was kept. A float32 takes four bytes.

row = "{:<20} {:>10} {:>12} {:>10} {:>10} {:>8}".format
header = row("method", "dimensions", "bytes/vector", "coherence", "recall@10", "seconds")
print(f"\n{header}\n{'-' * len(header)}")
print(row("(all dimensions)", full_size, f"{4 * full_size:,}", "1.000", "1.000", ""))
for size in SIZES:
    for method in METHODS:
        coherence, recall, seconds = results[method, size]
        figures = (f"{coherence:.3f}", f"{recall:.3f}", f"{seconds:.1f}")
        print(row(method.__name__, size, 4 * size, *figures))

# %%
# Where PCA and the student differ most is in the order of all texts. PCA subtracts the mean of
# the embeddings first, which moves the point that a cosine looks from. The singular value
# decomposition does not, and is the student's starting point; from there the student learns the
# order itself, which brings back more of the neighbors.

print("\nCoherenceDistiller against PCA:")
for size in SIZES:
    pca, ours = results[PCA, size], results[CoherenceDistiller, size]
    fewer_errors = 1 - (1 - ours[0]) / (1 - pca[0])
    print(
        f"  {size:>2} dimensions: puts {fewer_errors:.0%} fewer pairs in the wrong order, "
        f"keeps {10 * ours[1]:.1f} of 10 neighbors where PCA keeps {10 * pca[1]:.1f}"
    )

# %%
# The same as a picture: higher is better, further left is smaller.

STYLES = {
    PCA: {"color": "#0072B2", "marker": "s", "linestyle": ":"},
    TruncatedSVD: {"color": "#D55E00", "marker": "D", "linestyle": "--", "markersize": 10},
    CoherenceDistiller: {"color": "#000000", "marker": "o", "linestyle": "-"},
}

figure, axes = plt.subplots(1, 2, figsize=(9, 4.4), layout="constrained")
for panel, title in enumerate(("coherence", "recall@10")):
    ax = axes[panel]
    for method, style in STYLES.items():
        kept = [results[method, size][panel] for size in SIZES]
        # Open markers show through where two methods are equally good.
        ax.plot(SIZES, kept, label=method.__name__, markerfacecolor="none", linewidth=1.5, **style)
    ax.set_title(title)
    ax.set_xticks(SIZES, [f"{size}\n{4 * size} B" for size in SIZES])
    ax.set_xlabel("dimensions and bytes per vector")
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
figure.suptitle(f"What is kept of {full_size}-dimensional sentence embeddings, on unseen texts")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)

picture = Path(globals().get("__file__", "here.py")).with_name("compress_embeddings.png")
figure.savefig(picture, dpi=120)
print(f"\nThe picture: {os.path.relpath(picture)}")
plt.show()
