import ast
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch

import skperco
import skperco.datasets

FOLDER = Path(skperco.__file__).parent
MODULES = {
    ".".join(("skperco", *path.relative_to(FOLDER).with_suffix("").parts)): path
    for path in FOLDER.rglob("*.py")
}
# Each package imports only from those before it.
ORDER = [
    "utils",
    "dissimilarity",
    "ranking",
    "losses",
    "metrics",
    "closed_form",
    "students",
    "training",
    "io",
    "distiller",
    "codes",
    "sentence",
]
PUBLIC = [
    getattr(module, name) for module in (skperco, skperco.datasets) for name in module.__all__
]


def python(code):
    """Output of a new process in which warnings are errors."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def imported_by(module):
    """Modules of skperco that a module imports from."""
    imported = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            imported.add(node.module)
        elif isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
    return {name for name in imported if name.split(".")[0] == "skperco"}


def all_imported_by(module):
    """Modules of skperco that a module imports from, directly or indirectly."""
    found, left = set(), imported_by(module)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left |= imported_by(name) if name in MODULES else set()
    return found


def package_of(module):
    """Name of the subpackage or top-level module that a module belongs to."""
    return module.split(".")[1] if "." in module else "__init__"


def test_import_raises_no_warning_and_imports_only_declared_dependencies():
    # torch and scikit-learn import optional packages, such as pandas or rich, if these are
    # installed; they are not counted.
    loaded = python(
        "import sys, torch, joblib, sklearn.base, sklearn.callback, scipy.sparse.linalg;"
        "before = set(sys.modules);"
        "import skperco, skperco.datasets;"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    declared = {"numpy", "scipy", "sklearn", "torch", "joblib"}
    assert set(loaded.split()) - sys.stdlib_module_names - declared == {"skperco"}


def test_import_does_not_change_global_random_states():
    found = python(
        "import numpy, torch; numpy.random.seed(0); torch.manual_seed(0); import skperco;"
        "print(numpy.random.rand(), torch.rand(()).item())"
    )
    expected = torch.rand((), generator=torch.Generator().manual_seed(0)).item()
    assert found.split() == [str(np.random.RandomState(0).rand()), str(expected)]


@pytest.mark.parametrize("named", PUBLIC, ids=lambda named: named.__name__)
def test_public_names_have_docstrings(named):
    assert named.__doc__
    for name, member in vars(named).items() if isinstance(named, type) else ():
        if callable(member) and not name.startswith("_"):
            assert member.__doc__, f"{name} has no docstring"


@pytest.mark.parametrize("module", [skperco, skperco.datasets])
def test_all_is_sorted(module):
    assert module.__all__ == sorted(module.__all__)


def test_version_equals_that_of_the_distribution():
    assert skperco.__version__ == metadata.version("skperco")


@pytest.mark.parametrize("module", MODULES)
def test_packages_import_only_from_those_before_them(module):
    package = package_of(module)
    if package in ORDER:
        allowed = ORDER[: ORDER.index(package) + 1]
        assert {package_of(name) for name in imported_by(module)} <= set(allowed)


def test_every_package_is_in_the_order_of_imports():
    packages = {package_of(module) for module in MODULES}
    assert packages == {*ORDER, "datasets", "__init__"}


@pytest.mark.parametrize("module", MODULES)
def test_there_are_no_circular_imports(module):
    assert module not in all_imported_by(module)


@cache
def import_level(module):
    """Length of the longest chain of imports that begins with a module."""
    return 1 + max(map(import_level, imported_by(module)), default=0)


def test_chains_of_imports_have_at_most_ten_modules():
    assert max(map(import_level, MODULES)) <= 10


def lines_without_docstrings(path):
    """Number of lines of a module, without its docstrings."""
    text = path.read_text(encoding="utf-8")
    n_lines = len(text.splitlines())
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(
            node
        ):
            n_lines -= node.body[0].end_lineno - node.body[0].lineno + 1
    return n_lines


@pytest.mark.parametrize("module", MODULES)
def test_modules_have_at_most_400_lines_of_code(module):
    assert lines_without_docstrings(MODULES[module]) <= 400
