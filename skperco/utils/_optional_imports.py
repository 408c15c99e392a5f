"""Optional packages: imported where they are used, with a word on how to get them."""

from importlib import import_module


def import_extra(module, extra, purpose):
    """Import a module that does not come with the package.

    Parameters
    ----------
    module : str
    extra : str
        The extra that brings it.
    purpose : str
        What it is needed for.

    Returns
    -------
    module : module

    Raises
    ------
    ImportError
        If it is not there, saying how to install it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(
            f"{package} is needed {purpose}: pip install 'skperco[{extra}]', or {package} itself."
        ) from error
