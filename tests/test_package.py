import ast
import subprocess
import sys
from importlib import metadata
from importlib.resources import files
from pathlib import Path

import pytest

import skperco
import skperco.datasets

ROOMS = {path.stem: path for path in Path(skperco.__file__).parent.glob("*.py")}
PUBLIC = [
    getattr(module, name) for module in (skperco, skperco.datasets) for name in module.__all__
]


def python(code):
    """What another process prints, whose warnings are errors."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rooms_behind(room):
    """Rooms of the package that one of them imports from."""
    imported = set()
    for node in ast.walk(ast.parse(ROOMS[room].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{room} imports relatively"
            imported.add(node.module)
        elif isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
    inside = {name for name in imported if name.split(".")[0] == "skperco"}
    return {name.partition(".")[2] or "__init__" for name in inside}


def all_rooms_behind(room):
    """The same, and what these import in their turn."""
    behind, left = set(), rooms_behind(room)
    while left:
        name = left.pop()
        if name not in behind:
            behind.add(name)
            left |= rooms_behind(name) if name in ROOMS else set()
    return behind


def test_importing_warns_of_nothing_and_draws_in_only_what_it_declares():
    # What torch and scikit-learn import on their own, pandas or rich if there are any, is their
    # affair.
    loaded = python(
        "import sys, torch, joblib, sklearn.base, sklearn.callback, scipy.sparse.linalg;"
        "before = set(sys.modules);"
        "import skperco, skperco.datasets;"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    declared = {"numpy", "scipy", "sklearn", "torch", "joblib"}
    assert set(loaded.split()) - sys.stdlib_module_names - declared == {"skperco"}


def test_importing_leaves_the_global_random_states_alone():
    draws = "import numpy, torch{}; numpy.random.seed(0); torch.manual_seed(0){};"
    show = "print(numpy.random.rand(), torch.rand(()).item())"
    untouched = python(draws.format("", "") + show)
    assert python(draws.format("", "; import skperco") + show) == untouched


@pytest.mark.parametrize("named", PUBLIC, ids=lambda named: named.__name__)
def test_public_names_are_documented(named):
    assert named.__doc__
    for name, member in vars(named).items() if isinstance(named, type) else ():
        if callable(member) and not name.startswith("_"):
            assert member.__doc__, f"{name} has no docstring"


@pytest.mark.parametrize("module", [skperco, skperco.datasets])
def test_all_is_sorted(module):
    assert module.__all__ == sorted(module.__all__)


def test_version_is_that_of_the_distribution():
    assert skperco.__version__ == metadata.version("skperco")


def test_types_are_declared():
    assert (files("skperco") / "py.typed").is_file()


@pytest.mark.parametrize("room", ["dissimilarity", "ranking"])
def test_the_lowest_modules_import_only_settings_and_checks_of_tensors(room):
    assert rooms_behind(room) <= {"_global_settings", "_tensors"}


@pytest.mark.parametrize("room", ["losses", "metrics", "starts", "students", "teacher", "judging"])
def test_no_room_looks_up_to_the_training_or_the_distiller(room):
    assert not all_rooms_behind(room) & {"training", "distiller", "__init__"}


def test_the_training_does_not_know_the_distiller():
    assert "distiller" not in all_rooms_behind("training")


def test_only_the_front_door_knows_the_distiller():
    knowing = {room for room in ROOMS if "distiller" in rooms_behind(room)}
    assert knowing == {"__init__", "sentence"}


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_one_way(room):
    assert room not in all_rooms_behind(room)
