"""Prepared samples in memory as stacked tensors, where the network is; a batch is one indexing."""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

import torch
from monai.data import MetaTensor, list_data_collate
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info
from tqdm import tqdm

logger = logging.getLogger(__name__)

Sample = dict[str, Any]

MAX_BYTES = 8 * 2**30
"""What the tensors of a data set may take by default."""


class ResidentDataset(Dataset[Sample]):
    """Runs deterministic transforms over all samples once and keeps the results stacked, on the device if wanted.

    In place of ``monai.data.CacheDataset`` with a collating loader: 32 samples are then one ``index_select`` a key and
    nothing is copied to the device in a step. Random steps follow batch by batch (``AugmentedBatch``). Takes a loader
    that is told ``collate_fn=whole_batch``; samples one by one (``dataset[i]``) are there as well, as views.

    Where the tensors would take more than ``max_bytes``, nothing is kept: every batch is read and prepared when it is
    asked for, at the price of doing so in every epoch, and workers of the loader (``num_workers``) help.

    Args:
        data: One mapping a sample.
        transform: From such a mapping to one of tensors, numbers and texts, the same for every sample and call.
        device: Where the tensors are kept; on a GPU the loader must have no workers.
        max_bytes: Limit of the memory for tensors.
        num_workers: Threads that prepare the samples.
        progress: Whether a bar is shown.

    Attributes:
        resident: Whether the samples are kept.
        bytes: What their tensors take, or would take.

    Raises:
        ValueError: There is no sample; or samples whose tensors differ in shape, the message says which.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        transform: Callable[[Any], Any],
        device: str | torch.device = "cpu",
        max_bytes: float = MAX_BYTES,
        num_workers: int = 2,
        progress: bool = False,
    ) -> None:
        if not data:
            raise ValueError("there is no sample: the split is empty")
        self.data, self.transform, self.device = data, transform, torch.device(device)
        first = self._prepared(0)
        self.bytes = len(data) * sum(value.nbytes for value in first.values() if isinstance(value, Tensor))
        self.resident = self.bytes <= max_bytes
        self._columns: dict[str, Tensor | list[Any]] = {}
        if self.resident:
            self._keep(first, num_workers, progress)
        else:
            logger.warning(
                "%d samples take %.1f GB, more than max_bytes (%.1f GB): they are read and prepared in every epoch",
                len(data), self.bytes / 1e9, max_bytes / 1e9,
            )  # fmt: skip

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Sample:
        """One sample; tensors are views."""
        if not self.resident:
            return self._prepared(index)
        return {key: column[index] for key, column in self._columns.items()}

    def __getitems__(self, indices: Sequence[int]) -> Sample:
        """A batch: tensors with the samples first, lists of everything that is no number.

        Raises:
            RuntimeError: Asked for in a worker of a loader while the tensors are on a GPU.
        """
        if not self.resident:
            batch: Sample = list_data_collate([self._prepared(index) for index in indices])
            return batch
        if self.device.type != "cpu" and get_worker_info() is not None:
            raise RuntimeError(
                f"the samples are kept on {self.device}, where workers cannot read: num_workers must be 0"
            )
        wanted = torch.as_tensor(indices, device=self.device)
        return {
            key: column.index_select(0, wanted) if isinstance(column, Tensor) else [column[i] for i in indices]
            for key, column in self._columns.items()
        }

    def _prepared(self, index: int) -> Sample:
        sample = self.transform(dict(self.data[index]))
        return {key: value.as_tensor() if isinstance(value, MetaTensor) else value for key, value in sample.items()}

    def _keep(self, first: Sample, num_workers: int, progress: bool) -> None:
        count = len(self.data)
        for key, value in first.items():
            like = _as_tensor(value)
            self._columns[key] = [None] * count if like is None else torch.empty((count, *like.shape), dtype=like.dtype)
        with ThreadPoolExecutor(max(1, num_workers)) as pool:
            samples = chain([first], pool.map(self._prepared, range(1, count)))
            for index, sample in enumerate(tqdm(samples, "Loading dataset", count, disable=not progress)):
                self._put(index, sample)
        for key, column in self._columns.items():
            if isinstance(column, Tensor):
                self._columns[key] = column.to(self.device)

    def _put(self, index: int, sample: Sample) -> None:
        if sample.keys() != self._columns.keys():
            raise ValueError(f"sample {index} has {sorted(sample)}, the first one {sorted(self._columns)}")
        for key, value in sample.items():
            column = self._columns[key]
            if isinstance(column, Tensor) and isinstance(value, Tensor) and value.shape != column.shape[1:]:
                first = tuple(column.shape[1:])
                raise ValueError(f"{key} of sample {index} has shape {tuple(value.shape)}, that of the first {first}")
            column[index] = value


def whole_batch(batch: Sample) -> Sample:
    """The ``collate_fn`` of a loader over a ``ResidentDataset``, which gives whole batches."""
    return batch


def _as_tensor(value: Any) -> Tensor | None:
    """Of the type that ``torch.utils.data.default_collate`` gives; ``None`` for what is no number."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, float):
        return torch.tensor(value, dtype=torch.float64)
    return torch.tensor(value) if isinstance(value, (bool, int)) else None
