import doctest
from pathlib import Path

GUIDE = Path(__file__).parents[1] / "docs" / "user_guide.rst"


def test_the_user_guide_runs():
    found = doctest.testfile(str(GUIDE), module_relative=False)
    assert found.attempted > 20
    assert not found.failed
