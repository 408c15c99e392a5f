"""Fitted quantizers for other runtimes: a plain PyTorch module, and ONNX."""

import copy
import os

import torch
from sklearn.utils.validation import check_is_fitted

from skperco.codes._encoder import CodeEncoder
from skperco.io._export import write_onnx
from skperco.utils._global_settings import default_settings

_EXAMPLE_ROWS = 2


class CodeExportMixin:
    """Adds `to_torch` and `to_onnx` to a quantizer."""

    encoder_: CodeEncoder
    n_features_in_: int

    def to_torch(self) -> CodeEncoder:
        """Make a plain PyTorch module that computes the same codes as :meth:`encode`.

        Returns
        -------
        module : torch.nn.Module
            From a batch of rows, float32 of shape (n_rows, n_features), to codes, uint8 of shape
            (n_rows, n_bytes). Its method `embed` computes :meth:`transform_queries`, and `decode`
            decodes. On the CPU, in evaluation mode, with its own copy of the weights. Rows are not
            validated.

        Raises
        ------
        NotFittedError
            If the quantizer is not fitted.
        """
        check_is_fitted(self, "encoder_")
        return copy.deepcopy(self.encoder_)

    @default_settings()
    def to_onnx(self, path: str | os.PathLike[str]) -> None:
        """Write the encoder as an ONNX model, which needs neither Python nor PyTorch to run.

        Its input ``rows`` is a dense float32 matrix of any number of rows. Its outputs are
        ``codes``, as from :meth:`encode`, and ``embeddings``, as from :meth:`transform_queries`.

        Parameters
        ----------
        path : str or path-like
            The file, which is replaced atomically.

        Raises
        ------
        NotFittedError
            If the quantizer is not fitted.
        ValueError
            If PyTorch cannot export the distiller's student.
        OSError
            If the file cannot be written.
        ImportError
            If onnx or onnxscript is not installed.
        """
        module = CodesAndEmbeddings(self.to_torch()).eval()
        rows = torch.zeros(_EXAMPLE_ROWS, self.n_features_in_, dtype=torch.float32)
        write_onnx(path, module, rows, ["codes", "embeddings"], "the encoder")


class CodesAndEmbeddings(torch.nn.Module):
    """Codes of rows, and their embeddings without quantization.

    Parameters
    ----------
    encoder : CodeEncoder
    """

    def __init__(self, encoder: CodeEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Codes and embeddings of the rows."""
        embeddings = self.encoder.embed(rows)
        return self.encoder.code.encode(embeddings), embeddings
