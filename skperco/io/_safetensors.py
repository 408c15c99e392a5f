"""Files of tensors and a JSON document: written all or nothing, read without running code."""

import hashlib
import json
import os
import secrets
from pathlib import Path

import torch

from skperco.utils._optional_imports import import_extra

FORMAT = 1
# One field of the header for "<format> <checksum> <document>": the order of several would differ
# from process to process.
_FIELD = "skperco"


def replace_file(path, contents):
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


def write_file(path, document, tensors):
    """Write a safetensors file, as a whole or not at all.

    Parameters
    ----------
    path : str or path-like
    document : dict
        Of what JSON can hold.
    tensors : dict of str to torch.Tensor
    """
    safetensors = import_extra("safetensors.torch", "files", "to save and load files")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(document, allow_nan=False)
    metadata = {_FIELD: f"{FORMAT} {_checksum(text, tensors)} {text}"}
    replace_file(path, safetensors.save(tensors, metadata))


def read_file(path):
    """Read what :func:`write_file` has written.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    document : dict
    tensors : dict of str to torch.Tensor
        In memory of their own.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not such a file, of a later format, or not as it was written.
    """
    metadata, tensors = _contents(path)
    number, _, rest = metadata.get(_FIELD, "").partition(" ")
    checksum, _, text = rest.partition(" ")
    if not text:
        raise ValueError(f"{path} is no file that skperco has saved: its header does not say so.")
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


def _contents(path):
    """The header's own fields, and the tensors."""
    safetensors = import_extra("safetensors", "files", "to save and load files")
    # The errors of safetensors do not name a file that cannot be opened.
    open(path, "rb").close()
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            names = file.keys()
            tensors = {name: file.get_tensor(name).clone() for name in names}
            return file.metadata() or {}, tensors
    except (safetensors.SafetensorError, ValueError, RuntimeError, AttributeError) as error:
        raise ValueError(f"{path} is not a safetensors file, or damaged: {error}") from error


def _checksum(text, tensors):
    """SHA-256 of a text and tensors, their names, types and shapes included."""
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
