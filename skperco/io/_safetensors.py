"""Files of tensors and a JSON document, written atomically and read without running code."""

import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any

import torch

from skperco.utils._optional_imports import import_extra

FORMAT = 1
# One field of the header for "<format> <checksum> <document>", since the order of several fields
# would differ between processes.
_FIELD = "skperco"
_Path = str | os.PathLike[str]


def replace_file(path: _Path, contents: bytes) -> None:
    """Write a file atomically.

    It is written in the same folder under a temporary name, which begins with a dot and ends in
    ``.part``, synchronized to the disk and then renamed.

    Parameters
    ----------
    path : str or path-like
    contents : bytes
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(part, "xb") as file:
            file.write(contents)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_file(path: _Path, document: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    """Write a safetensors file atomically.

    Parameters
    ----------
    path : str or path-like
    document : dict
        Of values that JSON supports.
    tensors : dict of str to torch.Tensor
    """
    safetensors = import_extra("safetensors.torch", "files", "to save and load files")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(document, allow_nan=False)
    metadata = {_FIELD: f"{FORMAT} {_checksum(text, tensors)} {text}"}
    replace_file(path, safetensors.save(tensors, metadata))


def read_file(path: _Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Read a file of :func:`write_file`.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    document : dict
    tensors : dict of str to torch.Tensor
        They do not share the memory of the file.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not such a file, is of a later format, or was modified.
    """
    metadata, tensors = _contents(path)
    number, _, rest = metadata.get(_FIELD, "").partition(" ")
    checksum, _, text = rest.partition(" ")
    if not text:
        raise ValueError(f"{path} was not saved by skperco: its header lacks a {_FIELD!r} field.")
    if number != str(FORMAT):
        raise ValueError(
            f"{path} is of format {number[:20]!r}, and this version of skperco reads up to "
            f"{FORMAT}: load it with the version that saved it, or a later one."
        )
    if _checksum(text, tensors) != checksum:
        raise ValueError(f"{path}: checksum mismatch, the file was modified or truncated.")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    return document, tensors


def _contents(path: _Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """Metadata of the header, and the tensors."""
    safetensors = import_extra("safetensors", "files", "to save and load files")
    # The errors of safetensors do not name a file that cannot be opened.
    open(path, "rb").close()
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            names = file.keys()
            tensors = {name: file.get_tensor(name).clone() for name in names}
            return file.metadata() or {}, tensors
    except (safetensors.SafetensorError, ValueError, RuntimeError, AttributeError) as error:
        raise ValueError(f"{path} is not a safetensors file, or is damaged: {error}") from error


def _checksum(text: str, tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 of a text and of tensors, with their names, dtypes and shapes."""
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
