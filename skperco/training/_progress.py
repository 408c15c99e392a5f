"""Progress of a fit, round by round: printed, logged, and passed to scikit-learn's callbacks."""

import logging
import time
from itertools import islice

import numpy as np

_ROUNDS = 10
_LOGGER = logging.getLogger("skperco")
_LOGGER.addHandler(logging.NullHandler())


class Progress:
    """Watches the steps of the students of one fit.

    Every student is a stage of the fit, and its steps come in a few rounds. Callbacks see the
    fit as a task, its stages as subtasks, and their rounds as subtasks of those.

    Parameters
    ----------
    estimator : CoherenceDistiller
    context : CallbackContext
        Of the fit.
    samples : Samples
        For callbacks that score the student: their y is the teacher's representation.
    n_students : int
        How many there will be, as far as is known.
    """

    def __init__(self, estimator, context, samples, n_students):
        self.forecast = Forecast(n_students)
        self.estimator = estimator
        self.context = context
        uniform = (samples.weight == samples.weight[0]).all()
        metadata = None if uniform else {"sample_weight": samples.weight}
        self.data = {"X": samples.X, "y": samples.representation, "metadata": metadata}
        context.call_on_fit_task_begin(estimator=estimator, **self.data)

    def watch(self, steps, n_steps, attributes):
        """Pass on the steps of a student, unless a callback stops them.

        Parameters
        ----------
        steps : iterator of torch.Tensor
            Takes a step each time, and gives its loss.
        n_steps : int
            How many there are.
        attributes : callable
            Gives the estimator's fitted attributes as if this step were the last.

        Yields
        ------
        loss : torch.Tensor of shape ()
        """
        rounds = np.array_split(np.arange(n_steps), min(_ROUNDS, n_steps))
        stage = self.context.subcontext("student", max_subtasks=len(rounds))
        stage.call_on_fit_task_begin(estimator=self.estimator, **self.data)
        self.forecast.begin_steps()
        for numbers in rounds:
            task = stage.subcontext("round")
            task.call_on_fit_task_begin(estimator=self.estimator, **self.data)
            for loss in islice(steps, len(numbers)):
                yield loss
            done = numbers[-1] + 1
            left = self.forecast.seconds_left(done, n_steps)
            self.say("step {}/{}, loss {:.4f}, about {:.0f} s left", done, n_steps, loss, left)
            if self._end(task, attributes):
                break
        self.forecast.end_steps()
        self._end(stage, attributes)

    def end(self, attributes):
        """The fit is done, and gives the estimator these attributes."""
        self._end(self.context, attributes)

    def say(self, message, *values):
        """Log and, if verbose, print a line.

        It returns before the values are formatted when nobody reads them, to avoid a
        synchronization with the device.
        """
        logs, prints = _LOGGER.isEnabledFor(logging.INFO), self.estimator.verbose
        if not (logs or prints):
            return
        line = f"[{type(self.estimator).__name__}] {message.format(*values)}"
        _LOGGER.info(line)
        if prints:
            print(line)

    def _end(self, task, attributes):
        """Whether a callback wants no more tasks of this kind."""
        return task.call_on_fit_task_end(
            estimator=self.estimator, reconstruction_attributes=attributes, **self.data
        )


class Forecast:
    """How long a fit will go on, if later students take as long as the one that steps.

    Parameters
    ----------
    n_students : int
        How many there will be.
    clock : callable, default=time.monotonic
    """

    def __init__(self, n_students, clock=time.monotonic):
        self.n_students = n_students
        self.clock = clock
        self.begun = self.first_step = clock()

    def begin_steps(self):
        """The closed form of a student is there."""
        self.n_students -= 1
        self.first_step = self.clock()

    def seconds_left(self, done, n_steps):
        """Seconds, after so many of a student's steps."""
        a_step = (self.clock() - self.first_step) / done
        a_student = self.first_step - self.begun + a_step * n_steps
        return a_step * (n_steps - done) + a_student * max(0, self.n_students)

    def end_steps(self):
        """The next student begins."""
        self.begun = self.clock()
