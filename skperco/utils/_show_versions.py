"""Versions of what the results depend on."""

import platform
from importlib.metadata import PackageNotFoundError, version

import torch

_DEPENDENCIES = ("skperco", "numpy", "scipy", "scikit-learn", "torch", "joblib")
_EXTRAS = ("safetensors", "onnx", "onnxruntime", "sentence-transformers", "dask", "matplotlib")


def versions(packages=_DEPENDENCIES):
    """Versions by package, that of Python first; None for a package that is not there."""
    return {"python": platform.python_version()} | {name: _version(name) for name in packages}


def show_versions():
    """Print what a report of a problem needs: versions, the machine, its threads and GPUs.

    Examples
    --------
    >>> from skperco import show_versions
    >>> show_versions()
    python: 3...
    """
    for name, found in versions(_DEPENDENCIES + _EXTRAS).items():
        print(f"{name}: {found}")
    print(f"platform: {platform.platform()}")
    print(f"threads of torch: {torch.get_num_threads()}")
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    print(f"accelerator: {accelerator}")


def _version(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return None
