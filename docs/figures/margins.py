"""Margins over the best closed form, from margins.csv."""

import csv
from pathlib import Path

import matplotlib.pyplot as plt

with Path("margins.csv").open(encoding="utf-8") as file:
    _, *rows = csv.reader(file)

settings = [f"{name}, {metric}, {dimensions}" for name, metric, dimensions, *_ in rows]
positions = range(len(rows))
figure, axes = plt.subplots(1, 2, figsize=(9.5, 7), sharey=True, layout="constrained")
for ax, column, title in zip(axes, (4, 6), ("coherence", "recall@10"), strict=True):
    margins = [100 * float(row[column]) for row in rows]
    colors = ["#0b6e8f" if margin >= 0 else "#c0392b" for margin in margins]
    ax.hlines(positions, 0, margins, color=colors, linewidth=2.5, alpha=0.5)
    ax.scatter(margins, positions, color=colors, s=40, zorder=2)
    ax.axvline(0, color="#59636e", linewidth=1)
    ax.set_title(title)
    ax.set_xlabel("percentage points")
    ax.grid(axis="x", alpha=0.3)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
axes[0].set_yticks(positions, settings)
axes[0].set_ylim(len(rows) - 0.5, -0.5)
