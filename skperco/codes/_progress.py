"""Progress of the fit of a quantizer: printed, logged, and passed to scikit-learn's callbacks."""

import logging
from typing import Any

from sklearn.base import BaseEstimator

from skperco.training._samples import Samples

_LOGGER = logging.getLogger("skperco")


class CodeProgress:
    """Reports the candidates of a fit; for callbacks, each is a subtask of the fit.

    Parameters
    ----------
    estimator : CoherenceQuantizer
    context : CallbackContext
        Of the fit.
    samples : Samples
        For callbacks that score the estimator: their y is the teacher's representation.
    """

    def __init__(self, estimator: BaseEstimator, context: Any, samples: Samples) -> None:
        self.estimator = estimator
        self.context = context
        self.data = {"X": samples.X, "y": samples.representation, "metadata": None}
        self.context.call_on_fit_task_begin(estimator=estimator, **self.data)

    def report(self, message: str) -> None:
        """Log and, if verbose, print that a candidate has been fitted, and tell callbacks."""
        line = f"[{type(self.estimator).__name__}] {message}"
        _LOGGER.info(line)
        if self.estimator.verbose:
            print(line)
        task = self.context.subcontext("candidate")
        task.call_on_fit_task_begin(estimator=self.estimator, **self.data)
        self._end(task)

    def end(self) -> None:
        """End the fit."""
        self._end(self.context)

    def _end(self, task: Any) -> None:
        task.call_on_fit_task_end(
            estimator=self.estimator, reconstruction_attributes={}, **self.data
        )
