"""A picture of the contests between losses."""

# Okabe and Ito's colors, which the color-blind tell apart; shapes say the same again.
_COLORS = ("#0072B2", "#56B4E9", "#009E73", "#CC79A7", "#E69F00", "#666666", "#D55E00", "#000000")
_MARKERS = "osv^<>DX"
_PANEL = (5.0, 4.0)


def draw(panels, names, path):
    """Each figure against the student's size, a line for each loss.

    Parameters
    ----------
    panels : dict
        By (what is seen, size): a Panel.
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
            of_kind = {size: panel for (one, size), panel in panels.items() if one == kind}
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
    losses = next(iter(panels.values())).figures
    for loss, color, marker in zip(losses, _COLORS, _MARKERS, strict=False):
        means = [panel.mean(loss, name) for panel in panels.values()]
        spreads = [panel.spread(loss, name) for panel in panels.values()]
        ax.errorbar(list(panels), means, spreads, color=color, marker=marker, label=loss)
    ax.grid(alpha=0.3)
