"""The subset of the samples from which training steps draw."""

import numpy as np
import torch

from skperco.training._samples import Samples
from skperco.training._teacher import Teacher


class TrainingSubset:
    """Samples in memory, from which the training draws, and their teacher.

    Parameters
    ----------
    samples : Samples
        All of positive weight.
    device : torch.device
    teacher : Teacher, default=None
        Of these samples, if there is one already.
    """

    def __init__(self, samples: Samples, device: torch.device, teacher: Teacher | None = None):
        self.samples = samples
        self.device = device
        if teacher is None:
            teacher = Teacher(samples.representation, samples.teacher_metric, device)
        self.teacher = teacher

    @property
    def n_rows(self) -> int:
        """Number of samples."""
        return self.samples.n_rows

    def split(self, n_held_out: int) -> tuple["TrainingSubset", Samples]:
        """Split off the first rows: the rest of the subset, and the held-out samples."""
        if n_held_out == 0:
            return self, self.samples.take(np.arange(0))
        rows = np.arange(self.n_rows)
        kept = rows[n_held_out:]
        subset = TrainingSubset(self.samples.take(kept), self.device, self.teacher.take(kept))
        return subset, self.samples.take(rows[:n_held_out])
