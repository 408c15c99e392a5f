"""Saving and loading of fitted quantizers, without pickle."""

import os
from typing import Any, ClassVar

import torch
from sklearn.utils.validation import check_is_fitted

from skperco.codes._encoder import CodeEncoder
from skperco.codes._methods import METHODS, code_of_state
from skperco.io._safetensors import write_file
from skperco.io._save_load import load_file
from skperco.io._serialization import (
    check_given,
    checked,
    checked_list,
    checked_names,
    decoded,
    pack,
    packed_parameters,
    part,
    unpack,
)
from skperco.utils._devices import device_here
from skperco.utils._show_versions import versions

_DISTILLER, _ENCODER = "distiller", "encoder"
_OUTPUT = "_sklearn_output_config"
_INTEGERS = ("n_bytes_", "n_components_", "n_features_in_")
_BUFFERS = ("offset", "rotation", "query_scale")


class QuantizerFileMixin:
    """Adds `save` and `load` to a quantizer, whose class names the class of its distiller."""

    _distiller_class: ClassVar[type[Any]]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the fitted quantizer to a safetensors file, which contains no code.

        The file contains the parameters, the fitted attributes, the distiller, the codebooks,
        versions and a checksum. An existing file is replaced only when the new one is complete.
        Callbacks and metadata requests are not saved, nor is an unfitted `distiller`.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        NotFittedError
            If the quantizer is not fitted.
        OSError
            If the file cannot be written.
        ImportError
            If safetensors is not installed.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from skperco import CoherenceQuantizer
        >>> from skperco.datasets import load_wordnet_glosses
        >>> embeddings = load_wordnet_glosses(return_X_y=True)[0][:500]
        >>> quantizer = CoherenceQuantizer(8, method="int8", random_state=0).fit(embeddings)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     quantizer.save(Path(folder) / "quantizer.safetensors")
        ...     loaded = CoherenceQuantizer.load(Path(folder) / "quantizer.safetensors")
        >>> bool((loaded.encode(embeddings) == quantizer.encode(embeddings)).all())
        True
        """
        check_is_fitted(self, "encoder_")
        write_file(path, *_pack(self))

    @classmethod
    def load(cls, path: str | os.PathLike[str], **parameters: Any) -> Any:
        """Load a quantizer from a file of :meth:`save`, without running code from the file.

        Parameters
        ----------
        path : str or path-like
        **parameters
            Parameters that replace those in the file, such as `device`. A callable
            `teacher_metric` is not saved and must be given.

        Returns
        -------
        quantizer : CoherenceQuantizer

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If the file was not saved by :meth:`save`, has a later format, or was truncated or
            modified; if a parameter is missing or invalid.
        ImportError
            If safetensors is not installed.
        """
        return load_file(cls, path, _unpack, parameters)


def _pack(quantizer: Any) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Convert a fitted quantizer to a document of JSON types and tensors."""
    given = quantizer.get_params(deep=False)
    del given[_DISTILLER]
    parameters, missing = packed_parameters(given)
    document, tensors = pack(quantizer.distiller_)
    tensors = {f"{_DISTILLER}/{name}": value for name, value in tensors.items()}
    state = quantizer.encoder_.code.state_dict() | {
        f"{_ENCODER}.{name}": getattr(quantizer.encoder_, name) for name in _BUFFERS
    }
    tensors |= {f"{_ENCODER}/{name}": value.clone() for name, value in state.items()}
    return {
        "class": type(quantizer).__name__,
        "versions": versions(),
        "parameters": parameters,
        "missing": missing,
        "attributes": _attributes(quantizer),
        _DISTILLER: document,
    }, tensors


def _attributes(quantizer: Any) -> dict[str, Any]:
    """Fitted attributes, except the distiller and the encoder, converted to JSON types."""
    attributes: dict[str, Any] = {name: int(getattr(quantizer, name)) for name in _INTEGERS}
    attributes["method_"] = quantizer.method_
    attributes["validation_scores_"] = [
        [*candidate, score] for candidate, score in quantizer.validation_scores_.items()
    ]
    if hasattr(quantizer, "feature_names_in_"):
        attributes["feature_names_in_"] = list(quantizer.feature_names_in_)
    if hasattr(quantizer, _OUTPUT):
        attributes[_OUTPUT] = getattr(quantizer, _OUTPUT)["transform"]
    return attributes


def _unpack(
    cls: type[Any],
    document: dict[str, Any],
    tensors: dict[str, torch.Tensor],
    given: dict[str, Any],
) -> Any:
    """Make a quantizer from a document and tensors."""
    if document.get("class") != cls.__name__:
        raise ValueError(f"it holds a {document.get('class')!r}, not a {cls.__name__}.")
    check_given(cls, checked_list(document["missing"], str), given)
    parameters = {name: decoded(value) for name, value in document["parameters"].items()}
    quantizer = cls(**{**parameters, **given})
    quantizer._validate_params()
    quantizer.device = device_here(quantizer.device)
    for name, value in _checked_attributes(document["attributes"]).items():
        setattr(quantizer, name, value)
    inner = {name: given[name] for name in ("teacher_metric",) if name in given}
    quantizer.distiller_ = unpack(
        cls._distiller_class, document[_DISTILLER], part(tensors, _DISTILLER), inner
    )
    quantizer.metric_ = quantizer.distiller_.metric_
    quantizer.teacher_metric_ = quantizer.distiller_.teacher_metric_
    quantizer.encoder_ = _encoder(quantizer, part(tensors, _ENCODER))
    return quantizer


def _checked_attributes(attributes: dict[str, Any]) -> dict[str, Any]:
    """Convert attributes back from JSON, and check their types."""
    result: dict[str, Any] = {name: checked(attributes[name], int) for name in _INTEGERS}
    if attributes["method_"] not in METHODS:
        raise ValueError(f"it has an unknown method, {attributes['method_']!r}.")
    result["method_"] = attributes["method_"]
    result["validation_scores_"] = {
        tuple(map(checked, candidate, (str, int, bool, bool))): checked(score, float)
        for *candidate, score in checked(attributes["validation_scores_"], list)
    }
    if "feature_names_in_" in attributes:
        names = attributes["feature_names_in_"]
        result["feature_names_in_"] = checked_names(names, attributes["n_features_in_"])
    if _OUTPUT in attributes:
        result[_OUTPUT] = {"transform": checked(attributes[_OUTPUT], str)}
    return result


def _encoder(quantizer: Any, state: dict[str, torch.Tensor]) -> CodeEncoder:
    """Encoder with these buffers, whose shapes are checked."""
    buffers = {name: state.pop(f"{_ENCODER}.{name}") for name in _BUFFERS}
    code = code_of_state(quantizer.method_, state)
    encoder = CodeEncoder(
        quantizer.distiller_.to_torch(),
        code,
        **buffers,
        unit_norm=quantizer.metric_ == "cosine",
    )
    n_components = quantizer.n_components_
    expected = [(n_components,), (n_components, n_components), ()]
    shapes = [tuple(value.shape) for value in buffers.values()]
    sizes = (code.n_bytes, code.n_components, quantizer.distiller_.n_components_)
    if shapes != expected or sizes != (quantizer.n_bytes_, n_components, n_components):
        raise ValueError("the shapes of its code do not match its attributes.")
    # One product with a row of zeros reveals wrong shapes and dtypes.
    encoder.decode(code.encode(torch.zeros(1, n_components, dtype=torch.float32)))
    return encoder.eval()
