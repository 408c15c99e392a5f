"""Import of optional dependencies, with an error that says how to install them."""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


def import_extra(module: str, extra: str, purpose: str) -> ModuleType:
    """Import a module of an optional dependency.

    Parameters
    ----------
    module : str
    extra : str
        The extra of this package that installs it.
    purpose : str
        Completes the message "<package> is needed ...".

    Returns
    -------
    module : module

    Raises
    ------
    ImportError
        If it is not installed; the message says how to install it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(
            f"{package} is needed {purpose}: pip install 'skperco[{extra}]', or {package} itself."
        ) from error


def has_module(module: str) -> bool:
    """Whether a module of an optional dependency is installed."""
    return find_spec(module) is not None
