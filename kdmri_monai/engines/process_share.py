"""Which samples a process gets of what a sampler draws, so that every sample goes to exactly one process."""

from collections.abc import Iterator, Sized
from typing import Any

import ignite.distributed as idist
from torch.utils.data import DistributedSampler, Sampler, SequentialSampler

SMALLEST = 2
"""Samples of a process in the last step of an epoch; batch normalisation has no statistics of one."""


class ProcessShare(DistributedSampler[int]):
    """A process's share of the draws of another sampler; unlike with PyTorch's own sampler none comes twice.

    With a batch size, for training: step by step the processes together take what a single process would take, in the
    order that the sampler draws, each every n-th sample. The last step of an epoch is left out where a process would
    get fewer than two samples of it, as it is in a single process that would get one.

    Without, for validation and test: a stretch of neighbours each, nothing left out, so that what the processes find is
    in the order of the sampler when it is put together. Shares differ by at most one sample.

    Args:
        sampler: Draws the same in every process: in order, or by a seed and the epoch that ``set_epoch`` tells.
        batch_size: Samples of all processes together in one step; ``None`` for stretches.
        num_replicas: Processes; all that have joined by default.
        rank: This process.

    Raises:
        ValueError: The sampler's draws follow from no epoch; the batch cannot be shared out evenly; or a process would
            get nothing.
    """

    def __init__(
        self,
        sampler: Sampler[int],
        batch_size: int | None = None,
        num_replicas: int | None = None,
        rank: int | None = None,
    ) -> None:
        if not (hasattr(sampler, "set_epoch") or isinstance(sampler, SequentialSampler)):
            raise ValueError(
                f"{type(sampler).__name__} draws otherwise in every process: give one that goes in order, or that has "
                "set_epoch (torch.utils.data.DistributedSampler of one replica, BalancedSampler)"
            )
        processes = idist.get_world_size() if num_replicas is None else num_replicas
        if batch_size is not None:
            share_of_batch(batch_size, processes)
        self.sampler: Any = sampler
        self.batch_size = batch_size
        self._drawn = _whole_steps(_length(sampler), batch_size, processes)
        mine = idist.get_rank() if rank is None else rank
        super().__init__(range(self._drawn), processes, mine, shuffle=False)  # type: ignore[arg-type]  # its length
        if self._drawn < processes:
            raise ValueError(f"{_length(sampler)} samples are too few for {processes} processes, start fewer")

    def __iter__(self) -> Iterator[int]:
        """Indices of this process in this epoch."""
        drawn = list(self.sampler)[: self._drawn]
        yield from drawn[self._part()]

    def __len__(self) -> int:
        return len(range(self._drawn)[self._part()])

    def set_epoch(self, epoch: int) -> None:
        """Tell the sampler the epoch."""
        super().set_epoch(epoch)
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)

    def _part(self) -> slice:
        if self.batch_size is not None:
            return slice(self.rank, None, self.num_replicas)
        first, behind = (place * self._drawn // self.num_replicas for place in (self.rank, self.rank + 1))
        return slice(first, behind)


def share_of_batch(batch_size: int, processes: int | None = None) -> int:
    """Samples of one process in a step, where ``batch_size`` counts those of all processes together.

    Raises:
        ValueError: The batch cannot be shared out evenly.
    """
    processes = idist.get_world_size() if processes is None else processes
    if batch_size % processes or batch_size < processes:
        raise ValueError(f"batch_size is {batch_size}, of all processes together: it must be a multiple of {processes}")
    return batch_size // processes


def _whole_steps(samples: int, batch_size: int | None, processes: int) -> int:
    rest = 0 if batch_size is None else samples % batch_size
    return samples - rest if rest < SMALLEST * processes else samples


def _length(sampler: Sampler[int]) -> int:
    assert isinstance(sampler, Sized)
    return len(sampler)
