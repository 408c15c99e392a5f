"""Processes that fit one student together, with the collectives of torch.distributed."""

import os
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import distributed

from skperco.training._samples import Samples
from skperco.utils._chunking import stacked

_Value = TypeVar("_Value")


class Processes:
    """The processes that fit one student, each with its own rows; by default, only this one.

    All processes must call the same methods in the same order. Decisions are broadcast from the
    first process. Each process draws its own anchors and references, and references are gathered
    from all.

    Parameters
    ----------
    together : bool, default=False
        Whether to use the processes of torch.distributed's default group; without a group,
        this process is the only one.

    Attributes
    ----------
    size, rank : int
        Number of processes, and the index of this one.

    Raises
    ------
    ValueError
        If the environment variable WORLD_SIZE is above 1, but there is no process group.
    """

    def __init__(self, together: bool = False):
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

    def broadcast_object(self, value: _Value) -> _Value:
        """The value of the first process."""
        if self.size == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values)
        return values[0]

    @torch.no_grad()
    def broadcast_module(self, module: torch.nn.Module) -> None:
        """Copy parameters and buffers of the first process into a module."""
        if self.size > 1:
            for tensor in module.state_dict().values():
                whole = tensor.contiguous()
                distributed.broadcast(whole, 0)
                tensor.copy_(whole)

    def rank_generator(self, generator: torch.Generator) -> torch.Generator:
        """A generator with a different seed in each process; the given one in the first."""
        if self.rank == 0:
            return generator
        return torch.Generator().manual_seed((generator.initial_seed() + self.rank) % 2**63)

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """Concatenate tensors of equal shapes from all processes."""
        if self.size == 1:
            return tensor
        parts = [torch.empty_like(tensor) for _ in range(self.size)]
        distributed.all_gather(parts, tensor)
        return torch.cat(parts)

    def all_reduce_mean(self, tensors: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        """Means over the processes of tensors of the same dtype and device."""
        if self.size == 1:
            return tensors
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(flat)
        parts = (flat / self.size).split([tensor.numel() for tensor in tensors])
        return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]

    def gather_samples(
        self, samples: Samples, max_samples: int, random_state: np.random.RandomState
    ) -> tuple[Samples, int]:
        """Draw about `max_samples` samples from all processes; the result is the same in each.

        Parameters
        ----------
        samples : Samples
            Of this process.
        max_samples : int
        random_state : RandomState

        Returns
        -------
        samples : Samples
            All samples of this process, if it is the only one.
        n_samples : int
            Number of samples of all processes.
        """
        if self.size == 1:
            return samples, samples.n_rows
        if samples.teacher_metric == "precomputed":
            raise ValueError(
                "distributed=True does not support teacher_metric='precomputed': no process has "
                "the dissimilarities between rows of different processes."
            )
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

    def _all(self, value: Any) -> list[Any]:
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values
