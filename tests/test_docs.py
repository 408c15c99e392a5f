import doctest
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("page", ["user_guide.rst", "scikit_learn.rst"])
def test_the_page_runs(page):
    found = doctest.testfile(str(DOCS / page), module_relative=False)
    assert found.attempted > 20
    assert not found.failed
