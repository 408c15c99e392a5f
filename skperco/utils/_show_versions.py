"""Versions of Python and of the packages that the results depend on."""

import platform
from importlib.metadata import PackageNotFoundError, version

import torch

_DEPENDENCIES = ("skperco", "numpy", "scipy", "scikit-learn", "torch", "joblib")
_EXTRAS = ("safetensors", "onnx", "onnxruntime", "sentence-transformers", "dask", "matplotlib")


def versions(packages: tuple[str, ...] = _DEPENDENCIES) -> dict[str, str | None]:
    """Versions by package, with Python first; None for a package that is not installed."""
    return {"python": platform.python_version()} | {name: _version(name) for name in packages}


def show_versions() -> None:
    """Print what a bug report needs: versions, platform, number of threads and accelerator.

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


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
