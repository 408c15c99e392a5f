"""Memory of fit, transform and score with many rows."""

import subprocess
import sys

import numpy as np
import pytest

from skperco import CoherenceDistiller, neighbor_recall_score, perception_coherence_score

ROWS = 1_000_000


@pytest.mark.slow
def test_fit_and_scores_of_a_million_rows_need_little_memory():
    resource = pytest.importorskip("resource")
    rng = np.random.default_rng(0)
    X = rng.standard_normal((ROWS, 32), dtype=np.float32) * np.linspace(2, 0.1, 32, dtype="f")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    distiller = CoherenceDistiller(8, random_state=0, device="cpu").fit(X)
    small = distiller.transform(X)
    assert perception_coherence_score(X, small) > 0.8
    assert neighbor_recall_score(X, small, n_anchors=20) > 0
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    # A dissimilarity matrix of all rows would take 30,000 times the memory of the rows.
    assert grown < 20 * X.nbytes


# Not resource.getrusage, which may include the peak memory of the parent process.
PRINT_PEAK = """
with open("/proc/self/status") as status:
    print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")))
"""
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from /proc")

WIDE = """
import sys
import numpy as np
import scipy.sparse as sp
from skperco import CoherenceDistiller

n_rows, n_columns, n_entries = 20_000, 200_000, 30
rng = np.random.default_rng(0)
X = sp.csr_array(
    (
        rng.uniform(0.5, 1.5, n_rows * n_entries).astype(np.float32),
        rng.integers(n_columns, size=n_rows * n_entries),
        np.arange(n_rows + 1) * n_entries,
    ),
    shape=(n_rows, n_columns),
)
teacher = rng.standard_normal((n_rows, 384), dtype=np.float32) if "teacher" in sys.argv else None
distiller = CoherenceDistiller(64, random_state=0, device="cpu").fit(X, teacher)
assert distiller.transform(X).shape == (n_rows, 64)
"""


def peak_of(code, *arguments):
    """Peak memory of a new process in bytes, Python and torch included."""
    command = [sys.executable, "-c", code + PRINT_PEAK, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout) * 1024


@pytest.mark.slow
@on_linux
@pytest.mark.parametrize("teacher", ["teacher", "none"])
def test_fit_of_wide_sparse_rows_needs_little_memory(teacher):
    assert peak_of(WIDE, teacher) < 1.5e9


MAPPED = """
import sys
import numpy as np
from skperco import CoherenceDistiller

X, teacher = (np.load(path, mmap_mode="r") for path in sys.argv[1:3])
distiller = CoherenceDistiller(64, random_state=0, device="cpu").fit(X, teacher)
out = np.lib.format.open_memmap(sys.argv[3], "w+", np.float32, (len(X), 64))
distiller.transform(X, out=out)
"""


CODED = """
import sys
import numpy as np
from skperco import CoherenceQuantizer

X = np.load(sys.argv[1], mmap_mode="r")
quantizer = CoherenceQuantizer(64, random_state=0, device="cpu").fit(X)
out = np.lib.format.open_memmap(sys.argv[2], "w+", np.uint8, (len(X), 64))
quantizer.encode(X, out=out)
assert np.array_equal(out[-5:], quantizer.encode(X[-5:]))
"""


def write_rows(path):
    """Write a million rows of 384 columns with decreasing variances."""
    rng = np.random.default_rng(0)
    file = np.lib.format.open_memmap(path, "w+", np.float32, (ROWS, 384))
    for start in range(0, ROWS, 10_000):
        block = rng.standard_normal((10_000, 384), dtype=np.float32)
        file[start : start + 10_000] = block * np.arange(1, 385, dtype="f") ** -0.5


@pytest.mark.slow
@on_linux
def test_fit_of_memory_mapped_files_needs_little_memory(tmp_path):
    paths = [str(tmp_path / f"{name}.npy") for name in ("X", "teacher", "out")]
    for path in paths[:2]:
        write_rows(path)
    # X and its teacher take 3 GB.
    assert peak_of(MAPPED, *paths) < 2.5e9


@pytest.mark.slow
@on_linux
def test_codes_of_a_memory_mapped_file_need_little_memory(tmp_path):
    paths = [str(tmp_path / f"{name}.npy") for name in ("X", "codes")]
    write_rows(paths[0])
    # X takes 1.5 GB. Pages of mapped files count as memory while they are cached.
    assert peak_of(CODED, *paths) < 3e9
