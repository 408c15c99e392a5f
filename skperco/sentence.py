"""Estimators as last modules of a SentenceTransformer; requires sentence-transformers."""

import copy
from pathlib import Path
from typing import Any, ClassVar

import torch

from skperco.codes._quantizer import CoherenceQuantizer
from skperco.distiller import CoherenceDistiller
from skperco.utils._optional_imports import import_extra

_modules: Any = import_extra(
    "sentence_transformers.base.modules", "sentence", "for skperco.sentence"
)
_KEY = "sentence_embedding"


class _EstimatorModule(_modules.Module):
    """A fitted estimator after a text encoder."""

    _file: ClassVar[str]
    _estimator_class: ClassVar[Any]

    def __init__(self, estimator: Any) -> None:
        super().__init__()
        self.embedder = estimator.to_torch()
        self._fitted = estimator

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **kwargs: Any) -> Any:
        """Load the module from a folder, or from a repository of models.

        Raises an OSError if there is no saved estimator.
        """
        accepted = {"token", "cache_folder", "revision", "local_files_only"}
        options = {name: value for name, value in kwargs.items() if name in accepted}
        path = cls.load_file_path(model_name_or_path, cls._file, subfolder=subfolder, **options)
        if path is None:
            raise OSError(f"{model_name_or_path} has no {cls._file} in {subfolder!r}.")
        return cls(cls._estimator_class.load(path))


class StudentModule(_EstimatorModule):
    """A fitted distiller after a text encoder, so that ``encode`` returns the small embeddings.

    Parameters
    ----------
    distiller : CoherenceDistiller
        Fitted to embeddings of the text encoder.

    Examples
    --------
    With a SentenceTransformer `encoder` and a `distiller` fitted to ``encoder.encode(texts)``::

        from sentence_transformers import SentenceTransformer
        from skperco.sentence import StudentModule

        small = SentenceTransformer(modules=[*encoder, StudentModule(distiller)])
        small.encode(texts)
        small.save("folder")
        SentenceTransformer("folder", trust_remote_code=True)  # it imports skperco.sentence
    """

    _file = "student.safetensors"
    _estimator_class = CoherenceDistiller

    def __init__(self, distiller: CoherenceDistiller) -> None:
        super().__init__(distiller)

    @property
    def distiller(self) -> CoherenceDistiller:
        """The distiller with the current weights, which may have been trained further."""
        distiller = copy.copy(self._fitted)
        distiller.student_ = copy.deepcopy(self.embedder.student).float().cpu()
        return distiller

    def forward(self, features: dict[str, torch.Tensor], **kwargs: Any) -> dict[str, torch.Tensor]:
        """Replace the embeddings in the features of texts by the small embeddings."""
        return features | {_KEY: self.embedder(features[_KEY])}

    def get_embedding_dimension(self) -> int:
        """Number of dimensions of the small embeddings."""
        return self._fitted.n_components_

    def save(self, output_path: str, *args: Any, **kwargs: Any) -> None:
        """Save the distiller to a folder, as :meth:`CoherenceDistiller.save` does."""
        self.distiller.save(Path(output_path) / self._file)


class CodeModule(_EstimatorModule):
    """A fitted quantizer after a text encoder, so that ``encode`` returns codes.

    ``encode_query`` returns embeddings without quantization, which are compared with decoded
    documents; ``encode`` and ``encode_document`` return codes of dtype uint8.

    Parameters
    ----------
    quantizer : CoherenceQuantizer
        Fitted to embeddings of the text encoder.

    Examples
    --------
    With a SentenceTransformer `encoder` and a `quantizer` fitted to ``encoder.encode(texts)``::

        from sentence_transformers import SentenceTransformer
        from skperco.sentence import CodeModule

        coding = SentenceTransformer(modules=[*encoder, CodeModule(quantizer)])
        index = quantizer.to_faiss(coding.encode_document(texts))
        index.search(coding.encode_query(questions), 10)
    """

    _file = "quantizer.safetensors"
    _estimator_class = CoherenceQuantizer
    # Keyword arguments of `encode` that reach `forward`.
    forward_kwargs: ClassVar[set[str]] = {"task"}

    def __init__(self, quantizer: CoherenceQuantizer) -> None:
        super().__init__(quantizer)

    @property
    def quantizer(self) -> CoherenceQuantizer:
        """The quantizer."""
        return self._fitted

    def forward(
        self, features: dict[str, torch.Tensor], task: str | None = None, **kwargs: Any
    ) -> dict[str, torch.Tensor]:
        """Replace the embeddings in the features of texts by codes, those of queries exactly."""
        encode = self.embedder.embed if task == "query" else self.embedder
        return features | {_KEY: encode(features[_KEY])}

    def get_embedding_dimension(self) -> int:
        """Number of bytes of a code."""
        return self._fitted.n_bytes_

    def save(self, output_path: str, *args: Any, **kwargs: Any) -> None:
        """Save the quantizer to a folder, as :meth:`CoherenceQuantizer.save` does."""
        self._fitted.save(Path(output_path) / self._file)
