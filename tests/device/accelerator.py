"""A simulated accelerator, "fake", built with a C++ compiler and registered in this process.

Its kernels run on the CPU and check the devices of tensors as CUDA does.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
import types
from pathlib import Path

import torch
from torch.utils import cpp_extension

NAME = "fake"
FLAGS = ("-std=c++20", "-O1", "-fPIC", "-shared")
SOURCE = Path(__file__).with_name("simulated_accelerator.cpp")


def compiler():
    """Path of a C++ compiler; None if there is none, and on Windows, where the build differs."""
    if os.name == "nt":
        return None
    return shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++")


def library():
    """Path of the compiled simulation, cached outside the repository."""
    key = SOURCE.read_bytes() + repr((torch.__version__, compiler(), FLAGS)).encode()
    folder = Path(tempfile.gettempdir()) / f"skperco-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"simulated_accelerator_{hashlib.sha256(key).hexdigest()[:16]}.so"
    if not path.exists():
        part = path.with_suffix(f".{os.getpid()}")
        _compile(part)
        part.replace(path)
    return path


def _compile(path):
    include = [f"-I{folder}" for folder in cpp_extension.include_paths()]
    folders = cpp_extension.library_paths()
    link = [f"-L{folder}" for folder in folders] + [f"-Wl,-rpath,{folder}" for folder in folders]
    libraries = ["-ltorch", "-ltorch_cpu", "-lc10"]
    command = [compiler(), *FLAGS, *include, str(SOURCE), "-o", str(path), *link, *libraries]
    subprocess.run(command, check=True)


def register():
    """Register the accelerator in this process and return the operators that control it."""
    torch.ops.load_library(library())
    operators = torch.ops.simulated_accelerator
    operators.register_hooks()
    torch.utils.rename_privateuse1_backend(NAME)
    torch._register_device_module(NAME, _module(operators))
    torch.utils.generate_methods_for_privateuse1_backend(for_storage=True)
    return operators


def _module(operators):
    """The module `torch.fake`, with the functions that PyTorch requires."""
    module = types.ModuleType(f"torch.{NAME}")
    module.device_count = lambda: 1
    module.is_available = lambda: True
    module.is_initialized = lambda: True
    module.current_device = lambda: 0
    module.set_device = lambda device: None
    module.synchronize = lambda device=None: None
    module.get_amp_supported_dtype = lambda: [torch.float16, torch.bfloat16]
    module._is_in_bad_fork = lambda: False
    module.manual_seed = module.manual_seed_all = operators.seed
    module.get_rng_state = lambda device=None: operators.get_state()
    module.set_rng_state = lambda state, device=None: operators.set_state(state)
    return module
