"""Processes that fit one student together, by the collectives of torch.distributed."""

import os

import numpy as np
import torch
from torch import distributed

from skperco.training._samples import Samples
from skperco.utils._chunking import stacked


class Processes:
    """All processes that fit a student, each with rows of its own; this one alone, by default.

    Each must do the same in the same order. What they agree on is what the first says; each
    draws anchors and references of its own, and all see the references of all.

    Parameters
    ----------
    together : bool, default=False
        Whether they are those of torch.distributed's default group; if there is none, it is
        this process alone.

    Attributes
    ----------
    size, rank : int
        How many there are, and which of them this is.

    Raises
    ------
    ValueError
        If the environment says that there are others, and nobody has made a group of them.
    """

    def __init__(self, together=False):
        self.size, self.rank = 1, 0
        if not together:
            return
        if distributed.is_available() and distributed.is_initialized():
            self.size, self.rank = distributed.get_world_size(), distributed.get_rank()
        elif int(os.environ.get("WORLD_SIZE", 1)) > 1:
            raise ValueError(
                "distributed=True needs the group of all processes: call "
                "torch.distributed.init_process_group() first."
            )

    def broadcast_object(self, value):
        """What the first process has in place of this value."""
        if self.size == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values)
        return values[0]

    @torch.no_grad()
    def broadcast_module(self, module):
        """Give a module the first process's parameters and buffers."""
        if self.size > 1:
            for tensor in module.state_dict().values():
                whole = tensor.contiguous()
                distributed.broadcast(whole, 0)
                tensor.copy_(whole)

    def rank_generator(self, generator):
        """A generator that draws other numbers in each process; the same one in the first."""
        if self.rank == 0:
            return generator
        return torch.Generator().manual_seed((generator.initial_seed() + self.rank) % 2**63)

    def all_gather(self, numbers):
        """The numbers of all processes, of which each has as many."""
        if self.size == 1:
            return numbers
        parts = [torch.empty_like(numbers) for _ in range(self.size)]
        distributed.all_gather(parts, numbers)
        return torch.cat(parts)

    def all_reduce_mean(self, tensors):
        """Means over the processes of tensors of the same dtype and device."""
        if self.size == 1:
            return tensors
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(flat)
        parts = (flat / self.size).split([tensor.numel() for tensor in tensors])
        return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]

    def gather_samples(self, samples, max_samples, random_state):
        """Random samples of all processes, the same in each, about so many.

        Parameters
        ----------
        samples : Samples
            Of this process.
        max_samples : int
        random_state : RandomState
            Draws them.

        Returns
        -------
        samples : Samples
            All of this process, if there is no other.
        n_samples : int
            How many the processes have.
        """
        if self.size == 1:
            return samples, samples.n_rows
        if samples.teacher_metric == "precomputed":
            raise ValueError("teacher_metric='precomputed' has no table of all processes' rows.")
        counts = self._all(samples.n_rows)
        n_samples = sum(counts)
        share = int(np.ceil(min(1, max_samples / n_samples) * samples.n_rows))
        seeds = random_state.randint(2**31, size=self.size)
        drawn = np.random.RandomState(seeds[self.rank]).permutation(samples.rows)[:share]
        part = samples.take(np.sort(drawn))
        parts = self._all((part.X, part.weight, part.teacher))
        X, weight, teacher = parts[0]
        for more in parts[1:]:
            X = stacked(X, more[0], "X")
            weight = np.concatenate([weight, more[1]])
            teacher = stacked(teacher, more[2], "teacher_embeddings")
        return Samples(X, weight, teacher, samples.teacher_metric), n_samples

    def _all(self, value):
        values = [None] * self.size
        distributed.all_gather_object(values, value)
        return values
