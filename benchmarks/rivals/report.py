"""A table and a picture of the figures."""

import textwrap
from typing import NamedTuple

import numpy as np

from rivals.judging import COHERENCE, RECALL, SECONDS
from rivals.methods import CLOSED, DEFAULT, LEARNED, LOSS, METHODS, OURS

# Okabe and Ito's colors, which the color-blind tell apart; shapes say the same again.
_LOOKS = {
    CLOSED: ("#666666", "s"),
    LEARNED: ("#009E73", "^"),
    LOSS: ("#0072B2", "o"),
    OURS: ("#D55E00", "D"),
}
_PANEL = (8.0, 6.0)
_LABEL_GAP = 0.055
# The picture shows who has at least this share of the best coherence and of the best recall.
_REACH = 0.85


class Panel(NamedTuple):
    """One case at one number of dimensions: for each method its figures, a dict for each seed."""

    title: str
    figures: dict

    def mean(self, method, name):
        return np.mean([figures[name] for figures in self.figures[method]])

    def spread(self, method, name):
        return np.std([figures[name] for figures in self.figures[method]])


def table(panel):
    """All figures of the methods, and who is ahead of the default."""
    names = list(next(iter(panel.figures.values()))[0])
    titles = {method: METHODS[method].title for method in panel.figures}
    return "\n".join([markdown(panel, "method", names, titles), "", _verdict(panel)])


def markdown(panel, heading, names, titles=None):
    """Means over the seeds and, after ±, standard deviations; the best in bold.

    Parameters
    ----------
    panel : Panel
    heading : str
        Of the first column.
    names : sequence of str
        Of the figures to show.
    titles : dict, default=None
        What to call the methods in place of their names.
    """
    lines = [
        f"### {panel.title}",
        "",
        f"| {heading} | " + " | ".join(names) + " |",
        "|---|" + "---:|" * len(names),
    ]
    best = {name: _best(panel, name) for name in names}
    for method in panel.figures:
        cells = [_cell(panel, method, name, method == best[name]) for name in names]
        title = method if titles is None else titles[method]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _best(panel, name):
    """The method that a column shows in bold; none for seconds."""
    if name == SECONDS:
        return None
    return max(panel.figures, key=lambda method: panel.mean(method, name))


def _cell(panel, method, name, bold):
    digits = 1 if name == SECONDS else 3
    mean = f"{panel.mean(method, name):.{digits}f}"
    mean = f"**{mean}**" if bold else mean
    if len(panel.figures[method]) == 1:
        return mean
    return f"{mean} ± {panel.spread(method, name):.{digits}f}"


def _verdict(panel):
    if DEFAULT not in panel.figures:
        return ""
    ahead = [METHODS[method].title for method in panel.figures if _is_ahead(panel, method)]
    return f"Ahead of the default on both coherence and recall@10: {', '.join(ahead) or 'none'}."


def _is_ahead(panel, method):
    return all(panel.mean(method, name) > panel.mean(DEFAULT, name) for name in (COHERENCE, RECALL))


def draw(panels, path):
    """Coherence against recall, one panel beside the other."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    width, height = _PANEL
    figure, axes = plt.subplots(
        1, len(panels), figsize=(width * len(panels), height), squeeze=False, layout="constrained"
    )
    for ax, panel in zip(axes[0], panels, strict=True):
        _draw_panel(ax, panel)
    figure.legend(handles=_legend_handles(panels), loc="outside lower center", ncols=len(_LOOKS))
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _draw_panel(ax, panel):
    shown = [method for method in panel.figures if _is_near_the_best(panel, method)]
    for method in shown:
        color, marker = _LOOKS[METHODS[method].family]
        x, y = (panel.mean(method, name) for name in (COHERENCE, RECALL))
        dx, dy = (panel.spread(method, name) for name in (COHERENCE, RECALL))
        ax.errorbar(x, y, dy, dx, fmt=marker, color=color, markersize=7, markeredgecolor="white")
    others = [method for method in panel.figures if method not in shown]
    xlabel = f"{COHERENCE}\n{_out_of_sight(panel, others)}"
    ax.set(title=panel.title, xlabel=xlabel, ylabel=RECALL)
    ax.grid(alpha=0.3)
    _label(ax, panel, shown)


def _is_near_the_best(panel, method):
    """Whether the axes reach so far: the rest would squeeze the others into a corner."""
    return all(
        panel.mean(method, name) >= _REACH * panel.mean(_best(panel, name), name)
        for name in (COHERENCE, RECALL)
    )


def _label(ax, panel, methods):
    """Names in a column at the right, in the order of the points' heights, a line to each."""
    points = {m: tuple(panel.mean(m, name) for name in (COHERENCE, RECALL)) for m in methods}
    lowest_first = sorted(points, key=lambda method: points[method][::-1])
    bottom, top = ax.get_ylim()
    heights = [(points[method][1] - bottom) / (top - bottom) for method in lowest_first]
    for method, height in zip(lowest_first, _spread_out(heights), strict=True):
        color, _ = _LOOKS[METHODS[method].family]
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


def _out_of_sight(panel, methods):
    """A line or two on the methods that the axes do not reach, "" if there are none."""
    places = [
        f"{METHODS[method].title} "
        f"({panel.mean(method, COHERENCE):.2f}, {panel.mean(method, RECALL):.2f})"
        for method in methods
    ]
    return textwrap.fill(f"out of block: {', '.join(places)}", 70) if places else ""


def _spread_out(heights):
    """Rising heights, moved so that neighbors are a label apart and all fit if they can."""
    gaps = _LABEL_GAP * np.arange(len(heights))
    raised = np.maximum.accumulate(np.array(heights) - gaps)
    return np.minimum(raised, max(0.0, 1 - gaps[-1])) + gaps


def _legend_handles(panels):
    from matplotlib.lines import Line2D

    shown = {METHODS[method].family for panel in panels for method in panel.figures}
    return [
        Line2D([], [], color=color, marker=marker, linestyle="", label=family)
        for family, (color, marker) in _LOOKS.items()
        if family in shown
    ]
