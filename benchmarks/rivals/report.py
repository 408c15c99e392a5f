"""A table and a plot of scores."""

import textwrap
from typing import NamedTuple

import numpy as np

from rivals.evaluation import COHERENCE, RECALL, SECONDS
from rivals.methods import CLOSED, DEFAULT, LEARNED, LOSS, METHODS, SKPERCO

# Okabe and Ito's palette for color blindness; markers differ too.
_STYLES = {
    CLOSED: ("#666666", "s"),
    LEARNED: ("#009E73", "^"),
    LOSS: ("#0072B2", "o"),
    SKPERCO: ("#D55E00", "D"),
}
_PANEL_SIZE = (8.0, 6.0)
_LABEL_GAP = 0.055
# The plot shows methods with at least this fraction of the best coherence and the best recall.
_SHOWN_FRACTION = 0.85


class Panel(NamedTuple):
    """One case and one number of dimensions: the scores of each method, a dict for each seed."""

    title: str
    scores: dict

    def mean(self, method, name):
        return np.mean([scores[name] for scores in self.scores[method]])

    def std(self, method, name):
        return np.std([scores[name] for scores in self.scores[method]])


def table(panel):
    """All scores of the methods, and the methods that are better than the default."""
    names = list(next(iter(panel.scores.values()))[0])
    titles = {method: METHODS[method].title for method in panel.scores}
    return "\n".join([markdown(panel, "method", names, titles), "", _comparison(panel)])


def markdown(panel, heading, names, titles=None):
    """Means over the seeds and, after ±, standard deviations; the best in bold.

    Parameters
    ----------
    panel : Panel
    heading : str
        Title of the first column.
    names : sequence of str
        Scores to show.
    titles : dict, default=None
        Titles of the methods, to show in place of their names.
    """
    lines = [
        f"### {panel.title}",
        "",
        f"| {heading} | " + " | ".join(names) + " |",
        "|---|" + "---:|" * len(names),
    ]
    best = {name: _best(panel, name) for name in names}
    for method in panel.scores:
        cells = [_cell(panel, method, name, method == best[name]) for name in names]
        title = method if titles is None else titles[method]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _best(panel, name):
    """The method with the highest score; None for seconds."""
    if name == SECONDS:
        return None
    return max(panel.scores, key=lambda method: panel.mean(method, name))


def _cell(panel, method, name, bold):
    digits = 1 if name == SECONDS else 3
    mean = f"{panel.mean(method, name):.{digits}f}"
    mean = f"**{mean}**" if bold else mean
    if len(panel.scores[method]) == 1:
        return mean
    return f"{mean} ± {panel.std(method, name):.{digits}f}"


def _comparison(panel):
    if DEFAULT not in panel.scores:
        return ""
    better = [METHODS[method].title for method in panel.scores if _is_better(panel, method)]
    return (
        f"Better than the default in both coherence and recall@10: {', '.join(better) or 'none'}."
    )


def _is_better(panel, method):
    return all(panel.mean(method, name) > panel.mean(DEFAULT, name) for name in (COHERENCE, RECALL))


def draw(panels, path):
    """Plot recall against coherence, with a panel for each case and number of dimensions."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    width, height = _PANEL_SIZE
    figure, axes = plt.subplots(
        1, len(panels), figsize=(width * len(panels), height), squeeze=False, layout="constrained"
    )
    for ax, panel in zip(axes[0], panels, strict=True):
        _draw_panel(ax, panel)
    figure.legend(handles=_legend_handles(panels), loc="outside lower center", ncols=len(_STYLES))
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _draw_panel(ax, panel):
    shown = [method for method in panel.scores if _is_near_the_best(panel, method)]
    for method in shown:
        color, marker = _STYLES[METHODS[method].family]
        x, y = (panel.mean(method, name) for name in (COHERENCE, RECALL))
        dx, dy = (panel.std(method, name) for name in (COHERENCE, RECALL))
        ax.errorbar(x, y, dy, dx, fmt=marker, color=color, markersize=7, markeredgecolor="white")
    others = [method for method in panel.scores if method not in shown]
    xlabel = f"{COHERENCE}\n{_not_shown(panel, others)}"
    ax.set(title=panel.title, xlabel=xlabel, ylabel=RECALL)
    ax.grid(alpha=0.3)
    _label(ax, panel, shown)


def _is_near_the_best(panel, method):
    """Whether to show a method: outliers would compress the rest of the plot."""
    return all(
        panel.mean(method, name) >= _SHOWN_FRACTION * panel.mean(_best(panel, name), name)
        for name in (COHERENCE, RECALL)
    )


def _label(ax, panel, methods):
    """Label points in a column at the right, in their vertical order, each with a line."""
    points = {m: tuple(panel.mean(m, name) for name in (COHERENCE, RECALL)) for m in methods}
    lowest_first = sorted(points, key=lambda method: points[method][::-1])
    bottom, top = ax.get_ylim()
    heights = [(points[method][1] - bottom) / (top - bottom) for method in lowest_first]
    for method, height in zip(lowest_first, _spread_out(heights), strict=True):
        color, _ = _STYLES[METHODS[method].family]
        ax.annotate(
            METHODS[method].title,
            xy=points[method],
            xytext=(1.06, height),
            textcoords="axes fraction",
            va="center",
            color=color,
            fontweight="bold" if method == DEFAULT else "normal",
            arrowprops={
                "arrowstyle": "-",
                "color": color,
                "linewidth": 0.7,
                "alpha": 0.6,
                "relpos": (0, 0.5),
                "shrinkB": 4,
            },
        )


def _not_shown(panel, methods):
    """A list of the methods that are not shown, "" if there are none."""
    entries = [
        f"{METHODS[method].title} "
        f"({panel.mean(method, COHERENCE):.2f}, {panel.mean(method, RECALL):.2f})"
        for method in methods
    ]
    return textwrap.fill(f"not shown: {', '.join(entries)}", 70) if entries else ""


def _spread_out(heights):
    """Increasing heights, moved apart so that labels do not overlap, and within the axes."""
    gaps = _LABEL_GAP * np.arange(len(heights))
    raised = np.maximum.accumulate(np.array(heights) - gaps)
    return np.minimum(raised, max(0.0, 1 - gaps[-1])) + gaps


def _legend_handles(panels):
    from matplotlib.lines import Line2D

    shown = {METHODS[method].family for panel in panels for method in panel.scores}
    return [
        Line2D([], [], color=color, marker=marker, linestyle="", label=family)
        for family, (color, marker) in _STYLES.items()
        if family in shown
    ]
