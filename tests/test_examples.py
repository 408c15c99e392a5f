import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
QUICK = {"plot_data_frames", "plot_grid_search", "plot_pipeline_with_classifier"}
# Optional dependencies of the examples.
EXTRAS = {
    "plot_codes": ["faiss"],
    "plot_deploy": ["sentence_transformers", "onnxscript", "onnxruntime"],
    "plot_dask_arrays": ["dask.array"],
    "fit_together": ["safetensors"],
}


@pytest.mark.parametrize(
    "example",
    [
        pytest.param(path, id=path.stem, marks=() if path.stem in QUICK else pytest.mark.slow)
        for path in sorted(EXAMPLES.glob("*.py"))
    ],
)
def test_example_runs(example):
    for extra in EXTRAS.get(example.stem, ()):
        pytest.importorskip(extra)
    environment = os.environ | {"MPLBACKEND": "Agg"}
    command = [sys.executable, "-W", "error::FutureWarning", str(example)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr
