"""Coherence against recall@10 of all methods, from the tables in this folder."""

import csv
from pathlib import Path

import matplotlib.pyplot as plt

PANELS = {
    "glosses_16": "Glosses, 384 → 16 dimensions, cosine",
    "glosses_64": "Glosses, 384 → 64 dimensions, cosine",
    "digits_8": "Digits, 64 → 8 dimensions, euclidean",
}
# They are far below the others in one or both metrics.
LEFT_OUT = {"truncation", "GaussianRandomProjection", "UMAP", "MLPRegressor"}
DISTILLERS = {
    "CoherenceDistiller": "default",
    "CoherenceDistiller, rank_power=0": "rank_power=0",
    "CoherenceDistiller, rank_power=1": "rank_power=1",
}
STYLES = {
    "PCA": {"color": "#7f8c9b", "marker": "s", "s": 70},
    "TruncatedSVD": {"color": "#e08a1e", "marker": "D", "s": 80},
    "regressions and other losses": {"color": "#a88fc7", "marker": "o", "s": 50},
    "CoherenceDistiller": {"color": "#0b6e8f", "marker": "o", "s": 90},
}


def mean(cell):
    """The mean of a cell such as ``**0.902** ± 0.000``."""
    return float(cell.split("±")[0].strip(" *"))


def read(name):
    """Coherence and recall@10 of each method."""
    with Path(f"{name}.csv").open(encoding="utf-8") as file:
        return {
            row["method"]: (mean(row["coherence"]), mean(row["recall@10"]))
            for row in csv.DictReader(file)
            if row["method"] not in LEFT_OUT
        }


def draw(ax, points):
    """Draw a panel, with labels for the distillers."""
    for method, point in points.items():
        kind = "CoherenceDistiller" if method in DISTILLERS else method
        style = STYLES.get(kind, STYLES["regressions and other losses"])
        ax.scatter(*point, ec="white", zorder=2 if kind in STYLES else 1, **style)
        if method in DISTILLERS:
            ax.annotate(
                DISTILLERS[method],
                point,
                (9, -4),
                textcoords="offset points",
                color=style["color"],
            )
    left, right = ax.get_xlim()
    ax.set_xlim(left, right + 0.3 * (right - left))
    ax.set_xlabel("coherence")
    ax.set_ylabel("recall@10")
    ax.grid(alpha=0.3)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


figure, axes = plt.subplots(2, 2, figsize=(9.5, 7.5), layout="constrained")
for ax, (name, title) in zip(axes.flat, PANELS.items(), strict=False):
    draw(ax, read(name))
    ax.set_title(title, loc="left", fontweight="bold", fontsize="medium")
axes[1, 1].axis("off")
for label, style in STYLES.items():
    axes[1, 1].scatter([], [], label=label, **style)
axes[1, 1].legend(loc="center", frameon=False, labelspacing=1.2, fontsize="large")
