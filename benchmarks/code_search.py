"""Codes of a million rows: fit, encoding and search, beside FAISS.

    python benchmarks/code_search.py
    python benchmarks/code_search.py --rows 100000 --bytes 32

Rows are sums of two embeddings of the shipped glosses with random weights, in a memory-mapped file.
Encoding is compared with FAISS's optimized product quantization (OPQ) of the same bytes, and search
with exhaustive search of whole vectors (IndexFlatIP): both sides alternate. Recall@10 is the share
of the ten nearest whole vectors. A million rows take 3 GB in memory and 1.5 GB of disk. Peak memory
is that of the process after the fit and the encoding of all rows (Linux only).
"""

import argparse
import platform
import tempfile
import time
from pathlib import Path

import faiss
import numpy as np
import torch
from rivals.code_evaluation import shared_neighbors
from sklearn.preprocessing import normalize

from skperco import CoherenceQuantizer
from skperco.datasets import load_wordnet_glosses

_QUERIES = 1000
_ENCODED_ROWS = 200_000
_ROWS_TO_TRAIN = 20_000
_REPEATS = 3
_NEIGHBORS = 10


def main():
    options = _parse()
    faiss.omp_set_num_threads(torch.get_num_threads())
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, FAISS {faiss.__version__}")
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        rows, queries = _rows(Path(folder) / "rows.npy", options.rows)
        quantizer, codes = _fit_and_encode(rows, options.bytes, Path(folder) / "codes.npy")
        _compare_encoding(quantizer, rows)
        _compare_search(quantizer, codes, rows, queries, options.k_factor)


def _parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--bytes", type=int, default=64)
    parser.add_argument("--k-factor", type=float, default=30, help="of the search in two passes")
    parser.add_argument("--scratch", type=Path, help="folder for the rows, removed afterwards")
    return parser.parse_args()


def _rows(path, n_rows):
    """Memory-mapped rows, and queries that are not among them."""
    glosses = load_wordnet_glosses(return_X_y=True)[0].astype(np.float32)
    rng = np.random.default_rng(0)

    def mixed():
        weights = rng.uniform(0, 0.6, (len(glosses), 1)).astype(np.float32)
        return normalize(glosses + weights * rng.permutation(glosses))

    file = np.lib.format.open_memmap(path, "w+", np.float32, (n_rows, glosses.shape[1]))
    for start in range(0, n_rows, len(glosses)):
        part = file[start : start + len(glosses)]
        part[:] = mixed()[: len(part)]
    file.flush()
    return np.load(path, mmap_mode="r"), mixed()[:_QUERIES]


def _fit_and_encode(rows, n_bytes, path):
    started = time.perf_counter()
    quantizer = CoherenceQuantizer(n_bytes, random_state=0, device="cpu").fit(rows)
    print(f"fit of {len(rows):,} x {rows.shape[1]}: {time.perf_counter() - started:.1f} s")
    codes = np.lib.format.open_memmap(path, "w+", np.uint8, (len(rows), n_bytes))
    started = time.perf_counter()
    quantizer.encode(rows, out=codes)
    print(f"all rows encoded: {time.perf_counter() - started:.1f} s, peak {_peak():.2f} GB")
    return quantizer, codes


def _peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024**2


def _compare_encoding(quantizer, rows):
    n_bytes, part = quantizer.n_bytes, np.array(rows[:_ENCODED_ROWS])
    opq = faiss.index_factory(part.shape[1], f"OPQ{n_bytes},PQ{n_bytes}np")
    opq.train(part[:_ROWS_TO_TRAIN])
    times = _alternate(
        {"skperco": lambda: quantizer.encode(part), "OPQ": lambda: opq.sa_encode(part)}
    )
    print(f"encoding of {len(part):,} rows: {_in_words(times)}")


def _compare_search(quantizer, codes, rows, queries, k_factor):
    whole = faiss.IndexFlatIP(rows.shape[1])
    whole.add(np.array(rows))
    one_pass = quantizer.to_faiss()
    one_pass.add_sa_codes(np.array(codes))
    two_passes = quantizer.to_faiss(codes, k_factor=k_factor)
    embedded = quantizer.transform_queries(queries)
    searches = {
        "one pass": lambda: one_pass.search(embedded, _NEIGHBORS)[1],
        "two passes": lambda: two_passes.search(embedded, _NEIGHBORS)[1],
        "IndexFlatIP": lambda: whole.search(queries, _NEIGHBORS)[1],
    }
    print(f"search of {len(queries):,} queries: {_in_words(_alternate(searches))}")
    truth = searches["IndexFlatIP"]()
    for name in ("one pass", "two passes"):
        print(f"recall@{_NEIGHBORS} of {name}: {shared_neighbors(truth, searches[name]()):.4f}")


def _alternate(cases):
    """Median seconds of each case; the cases take turns."""
    times = {name: [] for name in cases}
    for _ in range(_REPEATS):
        for name, run in cases.items():
            started = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - started)
    return {name: np.median(seconds) for name, seconds in times.items()}


def _in_words(times):
    return ", ".join(f"{name} {seconds:.2f} s" for name, seconds in times.items())


if __name__ == "__main__":
    main()
