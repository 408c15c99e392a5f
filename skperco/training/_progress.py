"""Progress of a fit: printed, logged, and passed to scikit-learn's callbacks."""

import logging
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator

from skperco.training._samples import Samples

_ROUNDS = 10
_LOGGER = logging.getLogger("skperco")
_LOGGER.addHandler(logging.NullHandler())


class Progress:
    """Reports the steps of all students of a fit, or its parts.

    Every student is a stage of the fit, and its steps are divided into a few rounds. For callbacks
    the fit is a task, its stages are subtasks, and their rounds are subtasks of those.

    Parameters
    ----------
    estimator : CoherenceDistiller or CoherenceQuantizer
    context : CallbackContext
        Of the fit.
    """

    def __init__(self, estimator: BaseEstimator, context: Any):
        self.estimator = estimator
        self.context = context

    def begin(self, samples: Samples, n_students: int) -> None:
        """Begin the fit.

        Parameters
        ----------
        samples : Samples
            For callbacks that score the student: their y is the teacher's representation.
        n_students : int
            Expected number of students.
        """
        self.forecast = Forecast(n_students)
        uniform = (samples.weight == samples.weight[0]).all()
        metadata = None if uniform else {"sample_weight": samples.weight}
        self.data = {"X": samples.X, "y": samples.representation, "metadata": metadata}
        self.context.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def watch(
        self,
        steps: Iterator[torch.Tensor],
        n_steps: int,
        attributes: Callable[[], dict[str, Any]],
    ) -> Iterator[torch.Tensor]:
        """Pass on the steps of a student, unless a callback stops them.

        Parameters
        ----------
        steps : iterator of torch.Tensor
            Each iteration takes a step and returns its loss.
        n_steps : int
            Number of steps.
        attributes : callable
            Returns the fitted attributes of the estimator as if this step were the last.

        Yields
        ------
        loss : torch.Tensor of shape ()
        """
        rounds = np.array_split(np.arange(n_steps), min(_ROUNDS, n_steps))
        stage = self.context.subcontext("student", max_subtasks=len(rounds))
        stage.call_on_fit_task_begin(estimator=self.estimator, **self.data)
        self.forecast.begin_steps()
        for indices in rounds:
            task = stage.subcontext("round")
            task.call_on_fit_task_begin(estimator=self.estimator, **self.data)
            for loss in islice(steps, len(indices)):
                yield loss
            done = indices[-1] + 1
            left = self.forecast.seconds_left(done, n_steps)
            self.say("step {}/{}, loss {:.4f}, about {:.0f} s left", done, n_steps, loss, left)
            if self._end(task, attributes):
                break
        self.forecast.end_steps()
        self._end(stage, attributes)

    def report(self, message: str) -> None:
        """Say that a part of the fit has ended, which for callbacks is a subtask."""
        self.say("{}", message)
        task = self.context.subcontext("part")
        task.call_on_fit_task_begin(estimator=self.estimator, **self.data)
        self._end(task, None)

    def end(self, attributes: dict[str, Any]) -> None:
        """End the fit, with the fitted attributes of the estimator."""
        self._end(self.context, attributes)

    def say(self, message: str, *values: Any) -> None:
        """Log and, if verbose, print a line.

        Without a log handler and `verbose` the values are not formatted, which avoids a
        synchronization with the device.
        """
        logs, prints = _LOGGER.isEnabledFor(logging.INFO), self.estimator.verbose
        if not (logs or prints):
            return
        line = f"[{type(self.estimator).__name__}] {message.format(*values)}"
        _LOGGER.info(line)
        if prints:
            print(line)

    def _end(self, task: Any, attributes: Any) -> bool:
        """End a task; return whether a callback stops the tasks of its kind."""
        return task.call_on_fit_task_end(
            estimator=self.estimator, reconstruction_attributes=attributes, **self.data
        )


class Forecast:
    """Estimated remaining time, if later students take as long as the current one.

    Parameters
    ----------
    n_students : int
        Expected number of students.
    clock : callable, default=time.monotonic
    """

    def __init__(self, n_students: int, clock: Callable[[], float] = time.monotonic):
        self.n_students = n_students
        self.clock = clock
        self.begun = self.first_step = clock()

    def begin_steps(self) -> None:
        """Mark the end of a student's closed form and the beginning of its steps."""
        self.n_students -= 1
        self.first_step = self.clock()

    def seconds_left(self, done: int, n_steps: int) -> float:
        """Remaining seconds after `done` of a student's `n_steps` steps."""
        a_step = (self.clock() - self.first_step) / done
        a_student = self.first_step - self.begun + a_step * n_steps
        return a_step * (n_steps - done) + a_student * max(0, self.n_students)

    def end_steps(self) -> None:
        """Mark the beginning of the next student."""
        self.begun = self.clock()
