"""A distiller as the last module of a SentenceTransformer; it needs sentence-transformers."""

import copy
from pathlib import Path

from skperco.distiller import CoherenceDistiller
from skperco.utils._optional_imports import import_extra

_modules = import_extra("sentence_transformers.base.modules", "sentence", "for skperco.sentence")
_FILE = "student.safetensors"
_KEY = "sentence_embedding"


class StudentModule(_modules.Module):  # type: ignore[name-defined]
    """A fitted distiller behind a text encoder: one ``encode`` gives the small embeddings.

    Parameters
    ----------
    distiller : CoherenceDistiller
        Fitted to embeddings of the encoder in front of it.

    Examples
    --------
    With an `encoder`, a SentenceTransformer, and a `distiller` that was fitted to
    ``encoder.encode(texts)``::

        from sentence_transformers import SentenceTransformer
        from skperco.sentence import StudentModule

        small = SentenceTransformer(modules=[*encoder, StudentModule(distiller)])
        small.encode(texts)
        small.save("folder")
        SentenceTransformer("folder", trust_remote_code=True)  # it imports skperco.sentence
    """

    def __init__(self, distiller):
        super().__init__()
        self.embedder = distiller.to_torch()
        self._fitted = distiller

    @property
    def distiller(self):
        """The distiller, with weights as they are now: they may have been trained on."""
        distiller = copy.copy(self._fitted)
        distiller.student_ = copy.deepcopy(self.embedder.student).float().cpu()
        return distiller

    def forward(self, features, **kwargs):
        """Features of texts, in which the small embeddings replace those of the encoder."""
        return features | {_KEY: self.embedder(features[_KEY])}

    def get_embedding_dimension(self):
        """Number of dimensions of the small embeddings."""
        return self._fitted.n_components_

    def save(self, output_path, *args, **kwargs):
        """Write the distiller, as :meth:`CoherenceDistiller.save` does, into a folder."""
        self.distiller.save(Path(output_path) / _FILE)

    @classmethod
    def load(cls, model_name_or_path, subfolder="", **kwargs):
        """Load what `save` has written, of a folder or a repository of models."""
        where = {"token", "cache_folder", "revision", "local_files_only"}
        options = {name: value for name, value in kwargs.items() if name in where}
        path = cls.load_file_path(model_name_or_path, _FILE, subfolder=subfolder, **options)
        if path is None:
            raise OSError(f"{model_name_or_path} has no {_FILE} in {subfolder!r}.")
        return cls(CoherenceDistiller.load(path))
