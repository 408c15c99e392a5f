"""Tables and a picture of the contests between losses."""

import numpy as np

# Okabe and Ito's colours, which the colour-blind tell apart; shapes say the same again.
_COLORS = ("#0072B2", "#56B4E9", "#009E73", "#CC79A7", "#E69F00", "#666666", "#D55E00", "#000000")
_MARKERS = "osv^<>DX"
_PANEL = (5.0, 4.0)


def table(title, figures, names):
    """Markdown: means over the seeds ± standard deviations; the best in bold.

    Parameters
    ----------
    title : str
    figures : dict
        By loss: a dict of figures for each seed.
    names : sequence of str
        Of the figures to show.
    """
    means = {loss: [_mean(seeds, name) for name in names] for loss, seeds in figures.items()}
    best = np.max(list(means.values()), axis=0)
    lines = [
        f"### {title}",
        "",
        "| loss | " + " | ".join(names) + " |",
        "|---|" + "---:|" * len(names),
    ]
    for loss, seeds in figures.items():
        cells = [
            f"{'**' * int(first)}{mean:.3f}{'**' * int(first)} ± {_spread(seeds, name):.3f}"
            for name, mean, first in zip(names, means[loss], means[loss] == best, strict=True)
        ]
        lines.append(f"| {loss} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _mean(seeds, name):
    return np.mean([figures[name] for figures in seeds])


def _spread(seeds, name):
    return np.std([figures[name] for figures in seeds])


def draw(panels, names, path):
    """Each figure against the student's size, a line for each loss.

    Parameters
    ----------
    panels : dict
        By (what is seen, size): figures as in `table`.
    names : sequence of str
        Of the figures to draw.
    path : Path
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    kinds = list(dict.fromkeys(kind for kind, _ in panels))
    width, height = _PANEL
    figure, axes = plt.subplots(
        len(names),
        len(kinds),
        figsize=(width * len(kinds), height * len(names)),
        squeeze=False,
        sharex="col",
        layout="constrained",
    )
    for row, name in zip(axes, names, strict=True):
        for ax, kind in zip(row, kinds, strict=True):
            of_kind = {size: figures for (one, size), figures in panels.items() if one == kind}
            _draw_panel(ax, of_kind, name)
            ax.set(ylabel=name, xscale="log")
            ax.set_xticks(list(of_kind), [f"{size:,}" for size in of_kind])
            ax.minorticks_off()
    for ax, kind in zip(axes[0], kinds, strict=True):
        ax.set_title(kind)
    for ax in axes[-1]:
        ax.set_xlabel("parameters of the student")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _draw_panel(ax, panels, name):
    losses = next(iter(panels.values()))
    for loss, color, marker in zip(losses, _COLORS, _MARKERS, strict=False):
        means = [_mean(figures[loss], name) for figures in panels.values()]
        spreads = [_spread(figures[loss], name) for figures in panels.values()]
        ax.errorbar(list(panels), means, spreads, color=color, marker=marker, label=loss)
    ax.grid(alpha=0.3)
