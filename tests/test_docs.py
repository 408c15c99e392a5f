import doctest
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize(
    ("page", "extras"),
    [
        ("quickstart.rst", []),
        ("user_guide.rst", []),
        ("scikit_learn.rst", []),
        ("deploy.rst", ["safetensors", "onnxscript", "onnxruntime"]),
        ("codes.rst", ["faiss"]),
        ("scale_out.rst", ["dask.array"]),
    ],
)
def test_the_page_runs(page, extras):
    for extra in extras:
        pytest.importorskip(extra)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    found = doctest.testfile(str(DOCS / page), module_relative=False, optionflags=flags)
    assert found.attempted > 5
    assert not found.failed
