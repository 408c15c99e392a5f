"""What a score costs: beside a loop over Kendall's tau, and for a million rows on a disk.

    python benchmarks/scores.py
    python benchmarks/scores.py --rows 100000

Times are of this machine, one after the other in one run. Memory is the peak above what the
imports take: what the process asks for, and, of files that are mapped, what the system keeps of
them in memory beside what was read, which it gives up when others need it.
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
    _in_a_process(_exact)
    print(f"\n{rows:,} memory-mapped rows, standard error of at most {_TOL}")
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder), rows)
        _in_a_process(_mapped, folder)


def _in_a_process(function, *arguments):
    """Peaks of memory are those of a process: each case has one."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)


def _exact():
    teacher, student = _embeddings(_EXACT_ROWS, np.random.default_rng(0))
    _warm_up(teacher, student)
    every = {"n_anchors": _EXACT_ROWS, "n_references": _EXACT_ROWS}
    with _Measured() as ours:
        score = perception_coherence_score(teacher, student, **every)
    with _Measured() as distances:
        tables = [cdist(rows[:_LOOP_ROWS], rows, "cosine") for rows in (teacher, student)]
    with _Measured() as loop:
        taus = [
            kendalltau(*(np.delete(row, anchor) for row in rows)).statistic
            for anchor, rows in enumerate(zip(*tables, strict=True))
        ]
    # The loop takes the same time for every anchor, and need not see them all.
    scale = _EXACT_ROWS / _LOOP_ROWS
    print(f"  score {score:.4f}, by the loop's first {_LOOP_ROWS:,} {(1 + np.mean(taus)) / 2:.4f}")
    print(f"  skperco             {ours.seconds:6.2f} s, {ours}")
    print(f"  loop, taus alone    {loop.seconds * scale:6.2f} s")
    print(f"  loop, its distances {distances.seconds * scale:6.2f} s more")
    print(f"  skperco takes {ours.seconds / (loop.seconds * scale):.2f} of the taus alone")


def _mapped(folder):
    teacher, student = (np.load(Path(folder, name), mmap_mode="r") for name in ("t.npy", "s.npy"))
    _warm_up(*(np.random.default_rng(0).normal(size=(500, 8)) for _ in range(2)))
    with _Measured() as ours:
        interval = perception_coherence_interval(teacher, student, tol=_TOL)
    print(f"  score {interval.score:.4f}, standard error {interval.standard_error:.4f}")
    print(f"  skperco             {ours.seconds:6.2f} s, {ours}")


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


class _Measured:
    """Seconds of what is done inside, and its peak of memory."""

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
        own, mapped = self._peak / _MEGABYTE
        return f"{own:.0f} MB of its own and {mapped:.0f} MB of mapped files"


def _resident():
    """Bytes in memory: the process's own, and of the files that it maps (on Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return np.array([int(fields[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile")])


if __name__ == "__main__":
    main()
