"""A plot of the experiments with losses of representation transfer."""

# Okabe and Ito's palette for color blindness; markers differ too.
_COLORS = ("#0072B2", "#56B4E9", "#009E73", "#CC79A7", "#E69F00", "#666666", "#D55E00", "#000000")
_MARKERS = "osv^<>DX"
_PANEL_SIZE = (5.0, 4.0)


def draw(panels, names, path):
    """Plot scores against the student's size, with a line for each loss.

    Parameters
    ----------
    panels : dict
        A Panel for each (name of the data, size of the student).
    names : sequence of str
        Scores to draw.
    path : Path
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    kinds = list(dict.fromkeys(kind for kind, _ in panels))
    width, height = _PANEL_SIZE
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
    losses = next(iter(panels.values())).scores
    for loss, color, marker in zip(losses, _COLORS, _MARKERS, strict=False):
        means = [panel.mean(loss, name) for panel in panels.values()]
        stds = [panel.std(loss, name) for panel in panels.values()]
        ax.errorbar(list(panels), means, stds, color=color, marker=marker, label=loss)
    ax.grid(alpha=0.3)
