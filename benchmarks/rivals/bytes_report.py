"""Tables and a plot of what codes keep at equal bytes."""

import csv

import numpy as np

from rivals.code_evaluation import CODED_COHERENCE, CODED_RECALL, COHERENCE, RECALL, SCORES
from rivals.codes import DEFAULT, FAISS, FLOATS, METHODS, OTHERS, SKPERCO

# Okabe and Ito's palette for color blindness; line styles differ too.
_STYLES = {
    FLOATS: ("#666666", ":"),
    FAISS: ("#0072B2", "--"),
    OTHERS: ("#009E73", "-."),
    SKPERCO: ("#D55E00", "-"),
}
# Scores of the tables of all budgets.
_KINDS = {"exact": (COHERENCE, RECALL), "coded": (CODED_COHERENCE, CODED_RECALL)}
_MARKERS = "osv^<>DXPp*d"
_PANEL_SIZE = (6.5, 5.0)


def table(case, n_bytes, scores):
    """Markdown of all scores for a budget, and the methods that are ahead of the default."""
    lines = [
        f"### {case}, {n_bytes} bytes",
        "",
        "| method | bytes | " + " | ".join(SCORES) + " |",
        "|---|" + "---:|" * (len(SCORES) + 1),
    ]
    best = _best(scores, SCORES)
    for method, of_method in scores.items():
        cells = [_cell(of_method[name], method in METHODS and best[name]) for name in SCORES]
        lines.append(f"| {method} | {of_method['bytes']:g} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", _comparison(scores)])


def _cell(value, best):
    if np.isnan(value):
        return ""
    return f"**{value:.3f}**" if value == best else f"{value:.3f}"


def _comparison(scores):
    """Methods that are ahead of the default in coherence and recall, and the distance in recall."""
    rivals = [name for name in scores if name in METHODS and name != DEFAULT]
    if DEFAULT not in scores or not rivals:
        return ""
    ours = scores[DEFAULT]
    lines = []
    for kind in ("", ", coded"):
        names = f"{COHERENCE}{kind}", f"{RECALL}{kind}"
        ahead = [name for name in rivals if all(scores[name][one] > ours[one] for one in names)]
        recall = np.nanmax([scores[name][names[1]] for name in rivals])
        lines.append(
            f"{'Coded' if kind else 'Exact'} queries: ahead of {DEFAULT} in both coherence and "
            f"recall@10: {', '.join(ahead) or 'none'}; the best recall of the others is "
            f"{abs(ours[names[1]] - recall):.3f} "
            f"{'lower' if recall <= ours[names[1]] else 'higher'}."
        )
    return "\n".join(lines)


def write_grids(case, budgets, folder):
    """Write coherence and recall of each method, with a column for each budget, as CSV files."""
    for kind, names in _KINDS.items():
        best = {n: _best(scores, names) for n, scores in budgets.items()}
        with (folder / f"{case}_{kind}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL)
            writer.writerow(["method", *(f"{n} bytes" for n in budgets)])
            for method in _in_order(budgets):
                cells = [
                    _pair(scores[method], names, best[n], method) if method in scores else ""
                    for n, scores in budgets.items()
                ]
                if any(cells):
                    writer.writerow([method, *cells])


def _best(scores, names):
    """The best value of each of these scores among the methods."""
    rivals = [of_method for method, of_method in scores.items() if method in METHODS]
    return {name: np.nanmax([of_method[name] for of_method in rivals]) for name in names}


def _pair(scores, names, best, method):
    if np.isnan(scores[names[0]]):
        return ""
    return " / ".join(_cell(scores[name], method in METHODS and best[name]) for name in names)


def draw(panels, path):
    """Plot coherence and recall with exact queries against bytes, with a row for each case."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    width, height = _PANEL_SIZE
    figure, axes = plt.subplots(
        len(panels),
        2,
        figsize=(2 * width, height * len(panels)),
        squeeze=False,
        layout="constrained",
    )
    for row, (case, budgets) in zip(axes, panels.items(), strict=True):
        for ax, name in zip(row, (COHERENCE, RECALL), strict=True):
            _draw_panel(ax, budgets, name)
            ax.set(title=case, ylabel=f"{name}, exact queries", xlabel="bytes of a row")
    handles = {}
    for ax in axes.flat:
        handles |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    handles = {name: handles[name] for name in sorted(handles, key=_rank)}
    figure.legend(handles.values(), handles, loc="outside right center")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _draw_panel(ax, budgets, name):
    for method in _in_order(budgets):
        points = [(n, scores[method][name]) for n, scores in budgets.items() if method in scores]
        ax.plot(*zip(*points, strict=True), label=method, **_style(method))
    ax.set_xscale("log", base=2)
    ax.set_xticks(list(budgets), [f"{n}" for n in budgets])
    ax.minorticks_off()
    ax.grid(alpha=0.3)


def _in_order(budgets):
    """All methods in the order of METHODS, and the bound."""
    return sorted({method for scores in budgets.values() for method in scores}, key=_rank)


def _rank(method):
    return list(METHODS).index(method) if method in METHODS else len(METHODS)


def _style(method):
    if method not in METHODS:
        return {"color": "black", "linewidth": 1, "zorder": 4}
    marker = _MARKERS[_rank(method) % len(_MARKERS)]
    color, linestyle = _STYLES[METHODS[method].family]
    ours = method == DEFAULT
    return {
        "color": color,
        "linestyle": linestyle,
        "marker": marker,
        "markersize": 8 if ours else 5,
        "linewidth": 2.5 if ours else 1,
        "zorder": 3 if ours else 2,
    }
