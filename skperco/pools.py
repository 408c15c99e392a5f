"""Pools: the rows that the steps of a fit see, however many there are."""

import numpy as np

from skperco.teacher import Teacher


class Pool:
    """Samples in memory, and the teacher's view of them.

    Parameters
    ----------
    samples : Samples
        All of positive weight.
    device : torch.device
    teacher : Teacher, default=None
        If it is known already.
    """

    def __init__(self, samples, device, teacher=None):
        self.samples = samples
        self.device = device
        self.teacher = teacher
        if teacher is None:
            self.teacher = Teacher(samples.representation, samples.teacher_metric, device)

    @property
    def n_rows(self):
        """Number of samples."""
        return self.samples.n_rows

    def split(self, n_held_out):
        """The pool without its first rows, and the samples that these are."""
        if n_held_out == 0:
            return self, self.samples.take(np.arange(0))
        rows = np.arange(self.n_rows)
        kept = rows[n_held_out:]
        pool = Pool(self.samples.take(kept), self.device, self.teacher.take(kept))
        return pool, self.samples.take(rows[:n_held_out])
