"""Saving and loading of fitted distillers, without pickle."""

import os
from collections.abc import Callable
from typing import Any

from sklearn.utils.validation import check_is_fitted

from skperco.io._safetensors import read_file, write_file
from skperco.io._serialization import pack, unpack


class SaveLoadMixin:
    """Adds `save` and `load` to a distiller."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the fitted distiller to a safetensors file, which contains no code.

        The file contains the parameters, the fitted attributes, the student's weights, versions, a
        checksum and, after :meth:`partial_fit`, the sample of the stream. An existing file is
        replaced only when the new one is complete. Callbacks, metadata requests and code are not
        saved. Code is a callable metric, a module of your own (its weights are saved) or a callable
        that makes one: pass these to :meth:`load`.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        NotFittedError
            If the distiller is not fitted.
        ValueError
            If the state of a module of your own contains anything but tensors.
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
    def load(cls, path: str | os.PathLike[str], **parameters: Any) -> Any:
        """Load a distiller from a file of :meth:`save`, without running code from the file.

        Its :meth:`transform` returns the same embeddings, bit for bit on the same CPU. A fit can
        be continued, with `warm_start` or :meth:`partial_fit`. If this machine does not have the
        device of the fit, `device` becomes "auto".

        Parameters
        ----------
        path : str or path-like
        **parameters
            Parameters that are not saved: a callable `metric` or `teacher_metric`, the module that
            was given as `student`, or a callable that makes it. Other parameters, such as `device`
            or `warm_start`, replace those in the file.

        Returns
        -------
        distiller : CoherenceDistiller

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If the file was not saved by :meth:`save`, has a later format, or was truncated or
            modified; if a parameter is missing or invalid, or cannot be replaced.
        ImportError
            If safetensors is not installed.
        """
        return load_file(cls, path, unpack, parameters)


def load_file(
    cls: type[Any],
    path: str | os.PathLike[str],
    unpack: Callable[..., Any],
    parameters: dict[str, Any],
) -> Any:
    """Make an estimator from a file.

    Parameters
    ----------
    cls : type
    path : str or path-like
    unpack : callable
        From (cls, document, tensors, parameters) to an estimator.
    parameters : dict
        Parameters that replace those of the file, or are missing from it.

    Returns
    -------
    estimator : BaseEstimator

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it does not contain such an estimator.
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
            f"{path} cannot be loaded: it does not contain what a {cls.__name__} needs "
            f"({type(error).__name__}: {error})."
        ) from error
