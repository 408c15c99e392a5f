"""A callback that saves a distiller while it is fitted."""

import os
import time
from typing import Any


class Checkpoint:
    """Callback that saves a distiller while it is fitted, in case the process ends early.

    After an interrupted fit, load the file with ``warm_start=True`` and fit again.

    Parameters
    ----------
    path : str or path-like
        The file, which is replaced atomically.
    every : float, default=30.0
        Minimum number of seconds between two writes of the file. The fit writes it only after each
        tenth of a student's steps.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skperco import Checkpoint, CoherenceDistiller
    >>> from skperco.datasets import load_wordnet_glosses
    >>> embeddings = load_wordnet_glosses(return_X_y=True)[0][:500]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "checkpoint.safetensors"
    ...     distiller = CoherenceDistiller(8, max_iter=20, random_state=0)
    ...     _ = distiller.set_callbacks(Checkpoint(path, every=0)).fit(embeddings)
    ...     later = CoherenceDistiller.load(path, warm_start=True).fit(embeddings)
    """

    def __init__(self, path: str | os.PathLike[str], every: float = 30.0) -> None:
        self.path = path
        self.every = every

    def setup(self, estimator: Any, context: Any) -> None:
        """Start the clock as the fit begins."""
        self._saved = time.monotonic()

    def teardown(self, estimator: Any, context: Any) -> None:
        """Do nothing as the fit ends."""

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Do nothing as a student or a group of its steps begins."""

    def on_fit_task_end(
        self, estimator: Any, context: Any, *, fitted_estimator: Any = None
    ) -> None:
        """Save the current student if enough time has passed."""
        if fitted_estimator is not None and time.monotonic() - self._saved >= self.every:
            fitted_estimator.save(self.path)
            self._saved = time.monotonic()
