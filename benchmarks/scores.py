"""Cost of the score: compared with a loop over Kendall's tau, and for a million rows on disk.

    python benchmarks/scores.py
    python benchmarks/scores.py --rows 100000

Memory is the peak above the level before the call, separately for the process itself and for
memory-mapped files, which are a cache that the system can free at any time. Linux only.
"""

import argparse
import multiprocessing
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.distance import cdist
from scipy.stats import kendalltau

from skperco import perception_coherence_interval, perception_coherence_score

_EXACT_ROWS = 5000
_LOOP_ROWS = 1000
_TEACHER_FEATURES = 384
_STUDENT_FEATURES = 64
_TOL = 0.002
_MEGABYTE = 2**20


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    print(f"Exact, {_EXACT_ROWS:,} rows, {torch.get_num_threads()} threads")
    _run_in_process(_exact)
    print(f"\n{rows:,} memory-mapped rows, standard error of at most {_TOL}")
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder), rows)
        _run_in_process(_mapped, folder)


def _run_in_process(function, *arguments):
    """Run a function in a new process, so that memory of earlier functions is not counted."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)


def _exact():
    teacher, student = _embeddings(_EXACT_ROWS, np.random.default_rng(0))
    _warm_up(teacher, student)
    exact = {"n_anchors": _EXACT_ROWS, "n_references": _EXACT_ROWS}
    with _Measurement() as own:
        score = perception_coherence_score(teacher, student, **exact)
    with _Measurement() as distances:
        matrices = [cdist(rows[:_LOOP_ROWS], rows, "cosine") for rows in (teacher, student)]
    with _Measurement() as loop:
        taus = [
            kendalltau(*(np.delete(row, anchor) for row in rows)).statistic
            for anchor, rows in enumerate(zip(*matrices, strict=True))
        ]
    # The loop takes the same time for every anchor, so it needs only some of them.
    scale = _EXACT_ROWS / _LOOP_ROWS
    by_loop = (1 + np.mean(taus)) / 2
    print(f"  score {score:.4f}, by the loop over {_LOOP_ROWS:,} anchors {by_loop:.4f}")
    print(f"  skperco             {own.seconds:6.2f} s, {own}")
    print(f"  loop, taus alone    {loop.seconds * scale:6.2f} s")
    print(f"  loop, its distances {distances.seconds * scale:6.2f} s more")
    print(f"  skperco takes {own.seconds / (loop.seconds * scale):.2f} of the taus alone")


def _mapped(folder):
    teacher, student = (np.load(Path(folder, name), mmap_mode="r") for name in ("t.npy", "s.npy"))
    _warm_up(*(np.random.default_rng(0).normal(size=(500, 8)) for _ in range(2)))
    with _Measurement() as own:
        interval = perception_coherence_interval(teacher, student, tol=_TOL)
    print(f"  score {interval.score:.4f}, standard error {interval.standard_error:.4f}")
    print(f"  skperco             {own.seconds:6.2f} s, {own}")


def _warm_up(teacher, student):
    perception_coherence_interval(teacher[:500], student[:500])


def _embeddings(n_rows, rng):
    teacher = rng.standard_normal((n_rows, _TEACHER_FEATURES), dtype=np.float32)
    teacher *= np.linspace(2, 0.1, _TEACHER_FEATURES, dtype=np.float32)
    mix = np.random.default_rng(1).standard_normal((_TEACHER_FEATURES, _STUDENT_FEATURES))
    return teacher, teacher @ (mix / 20).astype(np.float32)


def _write(folder, n_rows):
    shapes = {"t.npy": (n_rows, _TEACHER_FEATURES), "s.npy": (n_rows, _STUDENT_FEATURES)}
    files = [
        np.lib.format.open_memmap(folder / name, "w+", np.float32, shape)
        for name, shape in shapes.items()
    ]
    rng = np.random.default_rng(0)
    for start in range(0, n_rows, 20_000):
        rows = slice(start, min(start + 20_000, n_rows))
        for file, part in zip(files, _embeddings(rows.stop - start, rng), strict=True):
            file[rows] = part


class _Measurement:
    """Context manager that measures time and peak memory."""

    def __enter__(self):
        self._start, self._peak = _resident(), np.zeros(2)
        self._done = threading.Event()
        self._watch = threading.Thread(target=self._follow)
        self._watch.start()
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_):
        self.seconds = time.perf_counter() - self._began
        self._done.set()
        self._watch.join()

    def _follow(self):
        while not self._done.wait(0.002):
            self._peak = np.maximum(self._peak, _resident() - self._start)

    def __str__(self):
        process, mapped = self._peak / _MEGABYTE
        return f"{process:.0f} MB of the process and {mapped:.0f} MB of mapped files"


def _resident():
    """Resident memory in bytes: of the process itself, and of memory-mapped files."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return np.array([int(fields[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile")])


if __name__ == "__main__":
    main()
