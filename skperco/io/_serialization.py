"""Conversion of a fitted distiller to a JSON document and tensors, and back, without pickle."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from skperco.dissimilarity._dense import check_metric
from skperco.students._builtin import kind_of, student_of_state
from skperco.students._custom import new_module
from skperco.training._reservoir import Stream
from skperco.training._samples import Samples
from skperco.utils._devices import device_here
from skperco.utils._show_versions import versions
from skperco.utils._types import Metric, Rows

_Document = dict[str, Any]
_Tensors = dict[str, torch.Tensor]

_OUTPUT = "_sklearn_output_config"
_STUDENT, _STREAM, _START = "student", "stream", "stream.start"
_SEED_OF_MODULES = 0
# Fitted attributes and their JSON types. Checkpoints written during a fit lack those that are set
# at its end.
_NUMBERS: dict[str, type[int] | type[float]] = {
    "n_components_": int,
    "n_features_in_": int,
    "n_samples_seen_": int,
    "n_iter_": int,
    "fraction_": float,
    "alpha_": float,
}
_NULLABLE = ("alpha_", "validation_scores_", "validation_fractions_")
_METRICS = ("metric", "teacher_metric")
_FITTED_METRICS = ("metric_", "teacher_metric_")
_SERIES = ("loss_curve_", "validation_scores_", "validation_fractions_")


class _Unwritable(Exception):
    """A value that cannot be converted to JSON."""


def pack(distiller: Any) -> tuple[_Document, _Tensors]:
    """Convert a fitted distiller, except its functions and modules, to a document and tensors.

    Parameters
    ----------
    distiller : CoherenceDistiller

    Returns
    -------
    document : dict
        Of values that JSON supports.
    tensors : dict of str to torch.Tensor
    """
    parameters, missing = packed_parameters(distiller.get_params(deep=False))
    for name in _code_of_the_fit(distiller):
        if name not in missing:
            del parameters[name]
            missing.append(name)
    document: _Document = {
        "class": type(distiller).__name__,
        "versions": versions(),
        "parameters": parameters,
        "missing": missing,
        "student": _kind(distiller),
        "attributes": _attributes(distiller),
        "stream": None,
    }
    tensors = _state(distiller.student_, _STUDENT)
    stream = getattr(distiller, "_stream", None)
    if stream is not None:
        document["stream"], parts = _packed_stream(stream, distiller.random_state)
        tensors |= parts
    return document, tensors


def unpack(cls: type[Any], document: _Document, tensors: _Tensors, given: dict[str, Any]) -> Any:
    """Make a distiller from a document and tensors.

    Parameters
    ----------
    cls : type
        CoherenceDistiller or a subclass.
    document : dict
    tensors : dict of str to torch.Tensor
    given : dict
        Parameters that replace those of the document, or are missing from it.

    Returns
    -------
    distiller : CoherenceDistiller

    Raises
    ------
    ValueError
        If the document is not that of a distiller, a parameter is missing, or one cannot be
        replaced.
    """
    if document.get("class") != cls.__name__:
        raise ValueError(f"it holds a {document.get('class')!r}, not a {cls.__name__}.")
    check_given(cls, checked_list(document["missing"], str), given)
    _check_names(document, tensors)
    parameters = {name: decoded(value) for name, value in document["parameters"].items()}
    distiller = cls(**{**parameters, **given})
    distiller._validate_params()
    distiller.device = device_here(distiller.device)
    # Older files do not contain the metrics of the fit, which were those of the parameters.
    saved = {**given, **parameters}
    metrics = _metrics_of(saved["metric"], saved["teacher_metric"])
    attributes = _checked_attributes(document["attributes"])
    for name, value in metrics.items():
        attributes.setdefault(f"{name}_", value)
    # Set in the order of the document, so that saving again writes the same file.
    for name, value in attributes.items():
        setattr(distiller, name, value)
    kind = document.get("student", saved["student"])
    distiller.student_ = _student(distiller, kind, part(tensors, _STUDENT))
    distiller._stream = None
    if document["stream"] is not None:
        has_state = document["stream"]["random_state"] is not None
        if has_state != _is_seed(parameters.get("random_state")):
            raise ValueError("the random state of its stream does not match its random_state.")
        distiller._stream = _unpacked_stream(distiller, kind, document["stream"], tensors)
    return distiller


def _code_of_the_fit(distiller: Any) -> Iterator[str]:
    """Names of parameters that were functions or modules in the fit, and were changed since."""
    if _kind(distiller) == "module" and isinstance(distiller.student, str):
        yield "student"
    for name, value in _metrics_of(distiller.metric, distiller.teacher_metric).items():
        fitted = getattr(distiller, f"{name}_")
        if callable(fitted) and fitted is not value:
            yield name


def _kind(distiller: Any) -> str:
    return kind_of(distiller.student_, distiller.n_components_)["student"]


def _metrics_of(metric: Metric, teacher_metric: Metric | None) -> dict[str, Metric]:
    """Metrics of a fit with these parameters, by the names of the parameters."""
    teacher_metric = metric if teacher_metric is None else teacher_metric
    return dict(zip(_METRICS, (metric, teacher_metric), strict=True))


def packed_parameters(parameters: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Convert parameters to JSON types; those that contain code are only named, in the list."""
    packed: dict[str, Any] = {}
    missing: list[str] = []
    for name, value in parameters.items():
        try:
            packed[name] = _encoded(value)
        except _Unwritable:
            missing.append(name)
    return packed, missing


def check_given(cls: type[Any], missing: list[str], given: dict[str, Any]) -> None:
    """Raise a ValueError if a parameter is unknown, or missing from a file and not given."""
    known = cls._get_param_names()
    for name in given:
        if name not in known:
            raise ValueError(f"{name!r} is not a parameter of {cls.__name__}.")
        if name == "student" and name not in missing:
            raise ValueError("student= cannot replace the student that is stored in the file.")
    absent = [name for name in missing if name not in given]
    if absent:
        raise ValueError(
            f"{' and '.join(absent)} must be passed, since a file contains no code: "
            f"load(path, {', '.join(f'{name}=...' for name in absent)})."
        )


def _encoded(value: Any) -> Any:
    """Convert a parameter to JSON types."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, (tuple, list)):
        return {type(value).__name__: [_encoded(entry) for entry in value]}
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return {"list": [_encoded(entry) for entry in value]}
    if isinstance(value, np.random.RandomState):
        return {"RandomState": _encoded_random_state(value)}
    raise _Unwritable


def decoded(value: Any) -> Any:
    """Convert a parameter back from JSON types."""
    if isinstance(value, list):
        raise ValueError(f"it has a list without its type, {value!r}.")
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "RandomState":
        return _decoded_random_state(content)
    return {"tuple": tuple, "list": list}[kind](map(decoded, checked(content, list)))


def _encoded_random_state(random_state: np.random.RandomState) -> list[Any]:
    state: Any = random_state.get_state()
    kind, keys, *rest = state
    if kind != "MT19937":
        raise _Unwritable
    return [kind, keys.tolist(), *rest]


def _decoded_random_state(content: Any) -> np.random.RandomState:
    random_state = np.random.RandomState()
    random_state.set_state(content)
    # set_state converts types, and does not check all values.
    if repr(_encoded_random_state(random_state)) != repr(content):
        raise ValueError("it has an invalid random state.")
    return random_state


def _attributes(distiller: Any) -> dict[str, Any]:
    """Fitted attributes, except the student, converted to JSON types."""
    attributes: dict[str, Any] = {}
    for name, value in vars(distiller).items():
        if value is None and name in _NULLABLE:
            attributes[name] = None
        elif name in _NUMBERS:
            attributes[name] = _NUMBERS[name](value)
        elif name in _FITTED_METRICS:
            if isinstance(value, str):
                attributes[name] = value
        elif name in _SERIES:
            attributes[name] = list(map(float, value))
        elif name == "feature_names_in_":
            attributes[name] = list(value)
        elif name == _OUTPUT:
            attributes[name] = value["transform"]
    return attributes


def _checked_attributes(attributes: dict[str, Any]) -> dict[str, Any]:
    """Convert attributes back from JSON, and check their types."""
    result: dict[str, Any] = {}
    for name, value in attributes.items():
        if value is None and name in _NULLABLE:
            result[name] = None
        elif name in _NUMBERS:
            result[name] = checked(value, _NUMBERS[name])
        elif name in _FITTED_METRICS:
            check_metric(checked(value, str), name)
            result[name] = value
        elif name in _SERIES:
            result[name] = checked_list(value, float)
        elif name == "feature_names_in_":
            result[name] = checked_names(value, attributes["n_features_in_"])
        elif name == _OUTPUT:
            result[name] = {"transform": checked(value, str)}
        else:
            raise ValueError(f"it has an unknown attribute, {name!r}.")
    return result


def checked_names(values: Any, n_features: int) -> NDArray[Any]:
    """Return the names of all features as an array, or raise a ValueError."""
    names = checked_list(values, str)
    if len(names) != n_features:
        raise ValueError("its number of feature names is not its number of features.")
    return np.array(names, dtype=object)


def checked(value: Any, kind: type[Any]) -> Any:
    """Return a value, or raise a ValueError if it is not of exactly this type."""
    if type(value) is not kind:
        raise ValueError(f"it has {value!r} in place of {kind.__name__}.")
    return value


def checked_list(values: Any, kind: type[Any]) -> list[Any]:
    """Return a list, or raise a ValueError if a value is not of exactly this type."""
    return [checked(value, kind) for value in checked(values, list)]


def _check_names(document: _Document, tensors: _Tensors) -> None:
    """Raise a ValueError if there are tensors of a part that the document does not have."""
    parts = [_STUDENT]
    if document["stream"] is not None:
        parts += [_STREAM] + [_START] * checked(document["stream"]["has_start"], bool)
    for name in tensors:
        if name.partition("/")[0] not in parts:
            raise ValueError(f"it has an unexpected tensor, {name!r}.")


def _state(module: torch.nn.Module, prefix: str) -> _Tensors:
    """State of a module, by names that begin with a prefix."""
    state = module.state_dict()
    for name, value in state.items():
        if not isinstance(value, torch.Tensor):
            raise ValueError(
                f"student ({type(module).__name__}) has a state that is not a tensor, {name}, "
                "which cannot be saved: use joblib.dump."
            )
    return {f"{prefix}/{name}": value.clone() for name, value in state.items()}


def part(tensors: _Tensors, prefix: str) -> _Tensors:
    """Tensors whose names begin with a prefix, by the rest of their names."""
    prefix += "/"
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _student(distiller: Any, kind: Any, state: _Tensors) -> torch.nn.Module:
    n_features, n_components = distiller.n_features_in_, distiller.n_components_
    if kind not in ("linear", "mlp"):
        seed, device = _SEED_OF_MODULES, torch.device("cpu")
        student = new_module(distiller.student, n_features, n_components, seed, device)
        try:
            student.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(f"student is not the module that was fitted: {error}") from error
        return student
    student = student_of_state(state)
    shape = tuple(student.linear_map().weight.shape)
    if shape != (n_components, n_features) or hasattr(student, "hidden") != (kind == "mlp"):
        raise ValueError(f"its student has shape {shape}, which does not match its attributes.")
    if not all(value.dtype == torch.float32 and value.isfinite().all() for value in state.values()):
        raise ValueError("its student has weights that are not finite, or not of float32.")
    return student


def _packed_stream(stream: Stream, random_state: Any) -> tuple[_Document, _Tensors]:
    """Convert a stream to a document and tensors."""
    document: _Document = {
        "max_samples": int(stream.max_samples),
        "n_seen": int(stream.n_seen),
        "n_learned": int(stream.n_learned),
        # Without a seed, the stream shares the random state of the distiller.
        "random_state": _encoded(stream.random_state) if _is_seed(random_state) else None,
        "shapes": {},
    }
    tensors: _Tensors = {}
    samples = stream.samples._asdict() | {"keys": stream.keys}
    for name in ("keys", "weight", "X", "teacher"):
        rows = samples[name]
        if rows is None:
            continue
        parts = {"": rows}
        if sp.issparse(rows):
            parts = {f".{part}": getattr(rows, part) for part in ("data", "indices", "indptr")}
        document["shapes"][name] = [sp.issparse(rows), *map(int, rows.shape)]
        tensors |= {
            f"{_STREAM}/{name}{part}": torch.from_numpy(np.ascontiguousarray(array))
            for part, array in parts.items()
        }
    document["has_start"] = stream.start is not None
    if stream.start is not None:
        tensors |= _state(stream.start, _START)
    return document, tensors


def _unpacked_stream(distiller: Any, kind: Any, document: _Document, tensors: _Tensors) -> Stream:
    arrays = {name: tensor.numpy() for name, tensor in part(tensors, _STREAM).items()}
    rows = {
        name: _unpacked_rows(arrays, name, *shape) for name, shape in document["shapes"].items()
    }
    lengths = {len(rows["keys"]), *(array.shape[0] for array in rows.values())}
    if len(lengths) > 1 or rows["X"].shape[1] != distiller.n_features_in_:
        raise ValueError("the rows of its stream do not match.")
    samples = Samples(rows["X"], rows["weight"], rows.get("teacher"), distiller.teacher_metric_)
    random_state = distiller.random_state
    if document["random_state"] is not None:
        random_state = checked(decoded(document["random_state"]), np.random.RandomState)
    start = None
    if document["has_start"]:
        start = _student(distiller, kind, part(tensors, _START))
    return Stream(
        samples,
        rows["keys"],
        checked(document["max_samples"], int),
        check_random_state(random_state),
        checked(document["n_seen"], int),
        checked(document["n_learned"], int),
        start,
    )


def _unpacked_rows(arrays: dict[str, NDArray[Any]], name: str, is_sparse: Any, *sizes: Any) -> Rows:
    shape = tuple(checked(size, int) for size in sizes)
    if checked(is_sparse, bool):
        parts = tuple(arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr"))
        matrix = sp.csr_array(parts, shape=shape)
        matrix.check_format()
        return matrix
    if arrays[name].shape != shape:
        raise ValueError(f"its {name} is not of shape {shape}.")
    return arrays[name]


def _is_seed(random_state: Any) -> bool:
    return random_state is not None and not isinstance(random_state, np.random.RandomState)
