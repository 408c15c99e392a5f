"""Growth of time and peak memory with rows, features, components and references.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --only rows "rows, with a teacher"

Each point is a new process that fits, transforms and scores memory-mapped rows; the output is
memory-mapped, too. The exponents are slopes of lines that are fitted to the logarithms. The files
of a million rows take 3 GB. Peak memory is measured on Linux only.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

_DEFAULTS = {"rows": 10_000, "features": 384, "components": 64, "references": 512, "teacher": None}
_ROWS = (10_000, 30_000, 100_000, 300_000, 1_000_000)
_SERIES = {
    "rows": [{"rows": rows} for rows in _ROWS],
    "rows, with a teacher": [{"rows": rows, "teacher": 384} for rows in _ROWS],
    "features": [{"features": features} for features in (96, 192, 384, 768, 1536)],
    "components": [{"components": components} for components in (16, 32, 64, 128, 256)],
    "references": [{"references": references} for references in (128, 512, 2048, 8192)],
}
_BLOCK = 10_000
_WORK = """
import json, sys, time
import numpy as np
import torch
from skperco import CoherenceDistiller, perception_coherence_score

given = json.loads(sys.argv[1])
torch.set_num_threads(given["threads"])
X, teacher = (
    None if path is None else np.load(path, mmap_mode="r") for path in (given["X"], given["y"])
)
out = np.lib.format.open_memmap(given["out"], "w+", np.float32, (len(X), given["components"]))
distiller = CoherenceDistiller(
    given["components"], n_references=given["references"], random_state=0, device="cpu"
)
parts = {
    "fit": lambda: distiller.fit(X, teacher),
    "transform": lambda: distiller.transform(X, out=out),
    "score": lambda: perception_coherence_score(X if teacher is None else teacher, out),
}

def peak():
    # In GB. resource.getrusage would include the parent process.
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024**2

measured = {}
for name, run in parts.items():
    started = time.perf_counter()
    run()
    measured[name + ", s"] = time.perf_counter() - started
    measured[name + ", GB"] = peak()
print(json.dumps(measured))
"""
_COLUMNS = ("fit, s", "transform, s", "score, s", "score, GB")


def main():
    options = _parse()
    print(f"{platform.machine()}, {os.cpu_count()} cores, {options.threads} threads")
    series = {}
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        for name in options.only:
            series[name] = _measured(name, Path(folder), options)
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "scaling.png"
    _draw(series, path)
    print(f"\nwritten to {path}")


def _parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=_SERIES, default=list(_SERIES))
    parser.add_argument("--most-rows", type=int, default=_ROWS[-1], help="largest number of rows")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--scratch", type=Path, help="folder for the rows, removed afterwards")
    parser.add_argument("--output", type=Path, default=Path("build/scaling"))
    return parser.parse_args()


def _measured(name, folder, options):
    """Sizes, and the measurements at each, in columns."""
    cases = [case for case in _SERIES[name] if case.get("rows", 0) <= options.most_rows]
    varied = next(iter(cases[0]))
    print(f"\n{name:>12}  " + "  ".join(f"{title:>12}" for title in _COLUMNS))
    points = []
    for case in cases:
        points.append(_point(_DEFAULTS | case, folder, options.threads))
        print(
            f"{case[varied]:12,}  " + "  ".join(f"{points[-1][title]:12.2f}" for title in _COLUMNS),
            flush=True,
        )
    sizes = [case[varied] for case in cases]
    columns = {title: [point[title] for point in points] for title in _COLUMNS}
    exponents = [_exponent(sizes, columns[title]) for title in _COLUMNS]
    print("    exponent  " + "  ".join(f"{exponent:12.2f}" for exponent in exponents))
    return sizes, columns


def _point(case, folder, threads):
    X = _file(folder / "X.npy", case["rows"], case["features"])
    y = None
    if case["teacher"]:
        y = _file(folder / "y.npy", case["rows"], case["teacher"])
    given = case | {"X": X, "y": y, "out": str(folder / "out.npy"), "threads": threads}
    done = subprocess.run(
        [sys.executable, "-c", _WORK, json.dumps(given)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
    )
    return json.loads(done.stdout)


def _file(path, n_rows, n_features):
    """Random rows with a decaying spectrum, similar to that of text embeddings."""
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.standard_normal((n_features, n_features)))[0]
    spread = (np.arange(1, n_features + 1) ** -0.5)[:, None] * rotation
    file = np.lib.format.open_memmap(path, "w+", np.float32, (n_rows, n_features))
    for start in range(0, n_rows, _BLOCK):
        rows = file[start : start + _BLOCK]
        rows[:] = rng.standard_normal(rows.shape) @ spread
    return str(path)


def _exponent(sizes, values):
    return np.polyfit(np.log(sizes), np.log(values), 1)[0]


def _draw(series, path):
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(
        2,
        len(series),
        figsize=(3.2 * len(series), 6),
        layout="constrained",
        squeeze=False,
        sharex="col",
        sharey="row",
    )
    for (name, (sizes, columns)), (above, below) in zip(series.items(), panels.T, strict=True):
        for title, values in columns.items():
            panel = below if title.endswith("GB") else above
            what = "peak" if title.endswith("GB") else title.removesuffix(", s")
            exponent = _exponent(sizes, values)
            panel.loglog(sizes, values, "o-", label=f"{what}, exponent {exponent:.2f}")
        above.set(title=name, ylim=(5e-3, 5e3))
        below.set(xlabel=name.split(",")[0], ylim=(0.1, 10))
        below.set_xticks(sizes, [_short(size) for size in sizes])
        below.minorticks_off()
        for panel in (above, below):
            panel.legend(fontsize="small", loc="upper left")
            panel.grid(alpha=0.3)
    panels[0, 0].set_ylabel("seconds")
    panels[1, 0].set_ylabel("GB")
    figure.savefig(path, dpi=120)


def _short(number):
    for unit, name in ((10**6, "M"), (10**3, "k")):
        if number >= unit and number % unit == 0:
            return f"{number // unit}{name}"
    return str(number)


if __name__ == "__main__":
    main()
