"""Fitted distillers in files without pickle: saved, loaded, and saved while they are fitted."""

from sklearn.utils.validation import check_is_fitted

from skperco.io._safetensors import read_file, write_file
from skperco.io._serialization import pack, unpack


class SaveLoadMixin:
    """Adds `save` and `load` to a distiller."""

    def save(self, path):
        """Write all of the fitted distiller into a safetensors file, which holds no code.

        The file holds parameters, fitted attributes, the student's weights and, after
        :meth:`partial_fit`, the rows kept of the stream; and versions and a checksum. What was
        there before stays until the new file is complete. Not saved are callbacks, metadata
        requests, and what is code: a callable metric, a module of your own (of which the
        weights are) or a callable that makes one; :meth:`load` asks for these.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        NotFittedError
            If there is nothing to save.
        ValueError
            If a module of your own has a state that is no tensor.
        OSError
            If the file cannot be written.
        ImportError
            If safetensors is not installed.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from skperco import CoherenceDistiller
        >>> from skperco.datasets import load_wordnet_glosses
        >>> embeddings = load_wordnet_glosses(return_X_y=True)[0][:500]
        >>> distiller = CoherenceDistiller(8, max_iter=20, random_state=0).fit(embeddings)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     distiller.save(Path(folder) / "student.safetensors")
        ...     loaded = CoherenceDistiller.load(Path(folder) / "student.safetensors")
        >>> bool((loaded.transform(embeddings) == distiller.transform(embeddings)).all())
        True
        """
        check_is_fitted(self, "student_")
        write_file(path, *pack(self))

    @classmethod
    def load(cls, path, **parameters):
        """Load a distiller that :meth:`save` has written, without running anything from the file.

        Its :meth:`transform` gives the same numbers, bit for bit on the same CPU. A fit goes on
        from it, with `warm_start` or :meth:`partial_fit`. If the device of the fit is not here,
        `device` becomes "auto".

        Parameters
        ----------
        path : str or path-like
        **parameters
            Those that the file could not hold: a callable `metric` or `teacher_metric`, the
            module as which `student` was given, or a callable that makes it; and others in
            place of those in the file, such as `device` or `warm_start`.

        Returns
        -------
        distiller : CoherenceDistiller

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If it is not such a file, is of a later format, has been cut or altered, or a
            parameter is missing or not wanted.
        ImportError
            If safetensors is not installed.
        """
        document, tensors = read_file(path)
        try:
            return unpack(cls, document, tensors, parameters)
        except ValueError as error:
            raise ValueError(f"{path} cannot be loaded: {error}") from error
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            RuntimeError,
            TypeError,
        ) as error:
            raise ValueError(
                f"{path} cannot be loaded: it does not hold what a {cls.__name__} needs "
                f"({type(error).__name__}: {error})."
            ) from error
