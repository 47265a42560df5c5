"""Samplers by which classes and patients are seen equally often."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from monai.data import DistributedWeightedRandomSampler

from kdmri_monai.data.balance import balanced_weights


class BalancedSampler(DistributedWeightedRandomSampler):
    """Draws slices with replacement by their weights; what is drawn depends on seed, epoch and rank alone.

    MONAI's sampler draws from a generator that goes on from epoch to epoch, so a resumed run would draw otherwise
    than an uninterrupted one. Here the generator is seeded for every epoch. MONAI's engines call ``set_epoch`` at the
    start of each; other loops must.

    Args:
        dataset: Anything of the length of the data set.
        weights: One for every element of it, not negative.
        seed: Seed of the run.
        num_samples: Draws of each rank in an epoch; by default as many as the rank's share of the data set has.
        num_replicas: Processes. Each draws from its own part, which changes from epoch to epoch.
        rank: This process.

    Raises:
        ValueError: There are more or fewer weights than elements.
    """

    def __init__(
        self,
        dataset: Any,
        weights: Sequence[float],
        seed: int,
        num_samples: int | None = None,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        if len(weights) != len(dataset):
            raise ValueError(f"there are {len(weights)} weights for {len(dataset)} elements")
        super().__init__(
            dataset,
            weights,
            num_samples_per_rank=num_samples,
            generator=torch.Generator(),
            num_replicas=num_replicas,
            rank=rank,
            seed=seed,
        )

    def __iter__(self) -> Iterator[int]:
        """Indices of this epoch."""
        # far enough apart that no epoch of one seed repeats one of another seed
        self.generator.manual_seed((self.seed * 100_003 + self.epoch) * self.num_replicas + self.rank)
        yield from super().__iter__()


def balanced_sampler(
    entries: Sequence[Mapping[str, Any]],
    seed: int,
    by: Sequence[str] = ("class", "patient"),
    num_samples: int | None = None,
    num_replicas: int = 1,
    rank: int = 0,
) -> BalancedSampler:
    """A sampler for the data loader of a bundle.

    Args:
        entries: Entries of the training split, in the order of the data set.
        seed: Seed of the run.
        by: Levels that are balanced, as for ``kdmri_monai.data.balance.balanced_weights``.
        num_samples: Draws of each rank in an epoch; as many as its share of the data set has by default.
        num_replicas: Processes.
        rank: This process.

    Raises:
        KeyError: An entry lacks a field of a level.
        ValueError: No entries, or unknown levels.
    """
    return BalancedSampler(entries, balanced_weights(entries, by), seed, num_samples, num_replicas, rank)
