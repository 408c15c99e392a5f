"""Fitted distillers for other runtimes: a plain PyTorch module, and ONNX."""

import copy
import io
import os
import threading
import warnings
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from skperco.dissimilarity._dense import unit_rows
from skperco.io._safetensors import replace_file
from skperco.utils._arrays import as_array
from skperco.utils._chunking import as_tensor, input_dtype
from skperco.utils._global_settings import default_settings
from skperco.utils._optional_imports import import_extra

_EXAMPLE_ROWS = 2
# PyTorch's exporter uses global state, so only one thread may export at a time.
_EXPORTING = threading.Lock()


class Embedder(torch.nn.Module):
    """Module that computes the same embeddings as :meth:`CoherenceDistiller.transform`.

    Parameters
    ----------
    student : torch.nn.Module
        Copied.
    unit_norm : bool
        Whether to scale the embeddings to unit norm.
    """

    def __init__(self, student: torch.nn.Module, *, unit_norm: bool) -> None:
        super().__init__()
        self.student = copy.deepcopy(student)
        self.unit_norm = unit_norm

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Embeddings of rows, of shape (n_rows, n_components), in the dtype of the weights.

        Rows of floating-point numbers are cast to that dtype, and autocast does not apply.
        """
        with torch.autocast(rows.device.type, enabled=False):
            embeddings = self.student(rows.to(self._dtype) if rows.is_floating_point() else rows)
            return unit_rows(embeddings) if self.unit_norm else embeddings

    @property
    def _dtype(self) -> torch.dtype:
        return next(one.dtype for one in self.student.parameters() if one.is_floating_point())


class ExportMixin:
    """Adds `to_torch` and `to_onnx` to a distiller."""

    student_: torch.nn.Module
    metric_: Any
    n_features_in_: int

    def to_torch(self) -> Embedder:
        """Make a plain PyTorch module that computes the same embeddings as :meth:`transform`.

        Returns
        -------
        module : torch.nn.Module
            From a batch of rows, float32 of shape (n_rows, n_features), to embeddings of shape
            (n_rows, `n_components_`). On the CPU, in evaluation mode, with its own copy of the
            weights, which can be trained. Rows are not validated.

        Raises
        ------
        NotFittedError
            If the distiller is not fitted.

        Examples
        --------
        >>> import torch
        >>> from skperco import CoherenceDistiller
        >>> from skperco.datasets import load_wordnet_glosses
        >>> embeddings = load_wordnet_glosses(return_X_y=True)[0][:500]
        >>> distiller = CoherenceDistiller(8, max_iter=20, random_state=0).fit(embeddings)
        >>> module = distiller.to_torch()
        >>> module(torch.from_numpy(embeddings[:3])).shape
        torch.Size([3, 8])
        """
        check_is_fitted(self, "student_")
        return Embedder(self.student_, unit_norm=self.metric_ == "cosine").eval()

    @default_settings()
    def to_onnx(self, path: str | os.PathLike[str], *, example: Any = None) -> None:
        """Write the student as an ONNX model, which needs neither Python nor PyTorch to run.

        Its input ``rows`` is a dense float32 matrix of any number of rows; its output
        ``embeddings`` is their embeddings, as from :meth:`transform`.

        Parameters
        ----------
        path : str or path-like
            The file, which is replaced atomically.
        example : array-like of shape (n_samples, ...), default=None
            Some rows of input. Needed for a module of your own whose input is not float32 of shape
            (n_samples, `n_features_in_`).

        Raises
        ------
        NotFittedError
            If the distiller is not fitted.
        ValueError
            If PyTorch cannot export a module of your own.
        OSError
            If the file cannot be written.
        ImportError
            If onnx or onnxscript is not installed.
        """
        module = self.to_torch()
        if example is None:
            example = np.zeros((_EXAMPLE_ROWS, self.n_features_in_), dtype=np.float32)
        rows = as_array(example, "example")
        rows = as_tensor(rows, device=torch.device("cpu"), dtype=input_dtype(rows))
        name = f"student ({type(module.student).__name__})"
        write_onnx(path, module, rows, ["embeddings"], name)


def write_onnx(
    path: str | os.PathLike[str],
    module: torch.nn.Module,
    rows: torch.Tensor,
    output_names: list[str],
    name: str,
) -> None:
    """Write a module as an ONNX model, whose first dimension is dynamic.

    Parameters
    ----------
    path : str or path-like
    module : torch.nn.Module
    rows : torch.Tensor of shape (n_rows, ...)
        An example of its input.
    output_names : list of str
    name : str
        Of the module, for error messages.

    Raises
    ------
    ValueError
        If PyTorch cannot export the module.
    ImportError
        If onnx or onnxscript is not installed.
    """
    for package in ("onnx", "onnxscript"):
        import_extra(package, "onnx", "to write ONNX models")
    replace_file(path, _onnx_model(module, rows, output_names, name))


def _onnx_model(
    module: torch.nn.Module, rows: torch.Tensor, output_names: list[str], name: str
) -> bytes:
    """ONNX model of a module; arguments as in :func:`write_onnx`."""
    try:
        # The warnings of PyTorch's exporter are about PyTorch itself.
        with _EXPORTING, torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program: Any = torch.onnx.export(
                module,
                (rows,),
                input_names=["rows"],
                output_names=output_names,
                dynamic_shapes=({0: torch.export.Dim("n_rows")},),
                dynamo=True,
                verbose=False,
            )
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{name} cannot be exported to ONNX: {error}") from error
    model = io.BytesIO()
    program.save(model)
    return model.getvalue()
