"""A distiller as the last module of a SentenceTransformer; requires sentence-transformers."""

import copy
from pathlib import Path
from typing import Any

import torch

from skperco.distiller import CoherenceDistiller
from skperco.utils._optional_imports import import_extra

_modules: Any = import_extra(
    "sentence_transformers.base.modules", "sentence", "for skperco.sentence"
)
_FILE = "student.safetensors"
_KEY = "sentence_embedding"


class StudentModule(_modules.Module):
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

    def __init__(self, distiller: CoherenceDistiller) -> None:
        super().__init__()
        self.embedder = distiller.to_torch()
        self._fitted = distiller

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
        self.distiller.save(Path(output_path) / _FILE)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **kwargs: Any) -> "StudentModule":
        """Load the module from a folder, or from a repository of models.

        Raises an OSError if there is no saved student.
        """
        accepted = {"token", "cache_folder", "revision", "local_files_only"}
        options = {name: value for name, value in kwargs.items() if name in accepted}
        path = cls.load_file_path(model_name_or_path, _FILE, subfolder=subfolder, **options)
        if path is None:
            raise OSError(f"{model_name_or_path} has no {_FILE} in {subfolder!r}.")
        return cls(CoherenceDistiller.load(path))
