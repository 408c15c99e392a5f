"""
Spend bytes, not dimensions
===========================

What stored embeddings cost is their bytes. This example codes embeddings of 384 dimensions, which
take 1,536 bytes in float32, in 8 to 128 bytes, and compares four ways to spend them:

- fewer dimensions in float32, by :class:`~sklearn.decomposition.TruncatedSVD`;
- four times as many dimensions in 8-bit integers;
- product quantization by FAISS, of three dimensions for each byte;
- :class:`~skperco.CoherenceQuantizer`.

Documents are coded, queries are exact.
"""

import os
from pathlib import Path

import faiss
import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.model_selection import train_test_split

from skperco import CoherenceQuantizer, neighbor_recall_score, perception_coherence_score
from skperco.datasets import load_wordnet_glosses

BYTES = (8, 32, 64, 128)

# %%
# The data are 5,000 short definitions from WordNet, embedded by all-MiniLM-L6-v2. The codes are
# fitted to 3,500 of them and judged on the other 1,500. Each function returns queries and decoded
# documents of the same dimension.


def svd_float32(n_bytes, train, test):
    """Dimensions of four bytes."""
    reduced = TruncatedSVD(n_bytes // 4, random_state=0).fit(train).transform(test)
    return reduced, reduced


def svd_int8(n_bytes, train, test):
    """Dimensions of one byte, with the range of each dimension in the training rows."""
    svd = TruncatedSVD(n_bytes, random_state=0)
    fitted, reduced = svd.fit_transform(train), svd.transform(test)
    low, step = fitted.min(0), np.ptp(fitted, axis=0) / 255
    levels = np.rint((reduced - low) / step).clip(0, 255)
    return reduced, low + levels * step


def svd_faiss(n_bytes, train, test):
    """One of 256 centroids for each three dimensions."""
    svd = TruncatedSVD(3 * n_bytes, random_state=0) if 3 * n_bytes < train.shape[1] else None
    rows = [train, test] if svd is None else [svd.fit_transform(train), svd.transform(test)]
    fitted, reduced = (np.ascontiguousarray(part, dtype=np.float32) for part in rows)
    quantizer = faiss.ProductQuantizer(fitted.shape[1], n_bytes, 8)
    # Enough for all clusters, without a warning that more rows would be better.
    quantizer.cp.min_points_per_centroid = 1
    quantizer.train(fitted)
    return reduced, quantizer.decode(quantizer.compute_codes(reduced))


def skperco(n_bytes, train, test):
    """The codes of skperco."""
    quantizer = CoherenceQuantizer(n_bytes, random_state=0).fit(train)
    return quantizer.transform_queries(test), quantizer.transform(test)


METHODS = {
    "TruncatedSVD, float32": svd_float32,
    "TruncatedSVD, int8": svd_int8,
    "TruncatedSVD, FAISS PQ": svd_faiss,
    "CoherenceQuantizer": skperco,
}

# %%
# A table of coherence and recall@10 for each budget.

train, test = train_test_split(load_wordnet_glosses().data, test_size=1500, random_state=0)
row = "{:>5} {:<23} {:>10} {:>10}".format
header = row("bytes", "method", "coherence", "recall@10")
print(f"{header}\n{'-' * len(header)}", flush=True)

recalls = {name: [] for name in METHODS}
for n_bytes in BYTES:
    for name, method in METHODS.items():
        queries, documents = method(n_bytes, train, test)
        coherence = perception_coherence_score(test, documents, student_queries=queries)
        recall = neighbor_recall_score(test, documents, n_neighbors=10, student_queries=queries)
        recalls[name].append(recall)
        print(row(n_bytes, name, f"{coherence:.3f}", f"{recall:.3f}"), flush=True)

# %%
# The same recalls as a picture.

STYLES = {
    "TruncatedSVD, float32": {"color": "#7f8c9b", "marker": "s"},
    "TruncatedSVD, int8": {"color": "#e08a1e", "marker": "D"},
    "TruncatedSVD, FAISS PQ": {"color": "#7b5ea7", "marker": "^"},
    "CoherenceQuantizer": {"color": "#0b6e8f", "marker": "o", "linewidth": 2.5},
}

figure, ax = plt.subplots(figsize=(7.5, 4.6), layout="constrained")
for name, values in recalls.items():
    ax.plot(BYTES, values, label=name, **STYLES[name])
ax.set_xscale("log", base=2)
ax.set_xticks(BYTES, [f"{n_bytes}" for n_bytes in BYTES])
ax.set_xlabel("bytes of a coded embedding (1,536 in float32)")
ax.set_ylabel("recall@10 (higher is better)")
ax.set_ylim(0, 1)
ax.grid(alpha=0.3)
ax.tick_params(length=0)
ax.spines[:].set_visible(False)
ax.legend(loc="lower right", frameon=False)

picture = Path(globals().get("__file__", "here.py")).with_name("codes.png")
figure.savefig(picture, dpi=150)
print(f"\nThe picture: {os.path.relpath(picture)}")
plt.show()
