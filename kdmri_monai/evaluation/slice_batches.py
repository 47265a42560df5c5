"""Batches of slices as every examination of a network reads them, and the answers that it gives to them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.networks.dry_run import evaluating

NAMES = ("id", "patient", "family")
KEYS = ("image", "label", "mask", "has_mask", *NAMES)

Batches = Callable[[str], Iterable[Mapping[str, Any]]]
"""Name of a split (``test``) to its batches, from the start at every call."""


@dataclass(frozen=True, eq=False)
class SliceBatch:
    """B slices on one device.

    Attributes:
        image: Intensities 0..1, shape ``(B, 1, H, W)``, float32.
        mask: Tumour, 0 or 1, shape ``(B, 1, H, W)``, float32; zero for a slice without mask.
        has_mask: Whether there is a mask, shape ``(B,)``, bool.
        label: True class, shape ``(B,)``, int64.
        id: Name of every slice.
        patient: Its patient.
        family: Its patient family.
    """

    image: Tensor
    mask: Tensor
    has_mask: Tensor
    label: Tensor
    id: tuple[str, ...]
    patient: tuple[str, ...]
    family: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.label)

    def take(self, rows: Tensor) -> "SliceBatch":
        """The slices with these numbers, or where a boolean tensor is true."""
        rows = rows.to(self.image.device)
        numbers = rows.nonzero().flatten() if rows.dtype == torch.bool else rows
        places = numbers.tolist()

        def named(names: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(names[place] for place in places)

        tensors = self.image[numbers], self.mask[numbers], self.has_mask[numbers], self.label[numbers]
        return SliceBatch(*tensors, named(self.id), named(self.patient), named(self.family))

    def with_image(self, image: Tensor, mask: Tensor | None = None) -> "SliceBatch":
        """The same slices with other pixels, and another mask where it moved with them."""
        return replace(self, image=image, mask=self.mask if mask is None else mask)


def read_batch(batch: Mapping[str, Any], device: torch.device | str) -> SliceBatch:
    """A batch of a data loader, without MONAI's metadata, on the device.

    Args:
        batch: ``KEYS``, as ``engines.configured.slice_batches`` gives them.
        device: Where the tensors go.

    Raises:
        ValueError: A key is missing.
    """
    missing = [key for key in KEYS if key not in batch]
    if missing:
        raise ValueError(f"an examination needs {', '.join(missing)} in every batch, got {', '.join(map(str, batch))}")
    return SliceBatch(
        image=_plain(batch["image"], device).float(),
        mask=_plain(batch["mask"], device).float(),
        has_mask=_plain(batch["has_mask"], device).reshape(-1).bool(),
        label=_plain(batch["label"], device).reshape(-1).long(),
        **{name: tuple(str(value) for value in batch[name]) for name in NAMES},
    )


def given_masks(network: nn.Module) -> bool:
    """Whether a network is given the tumour mask beside the image, as a teacher that sees geometry is."""
    return bool(getattr(network, "privileged_keys", ()))


@torch.no_grad()
def answer(network: nn.Module, batch: SliceBatch) -> Tensor:
    """Logits of a network in eval mode, shape ``(B, K)``; what it wants beside the image it is given.

    Args:
        network: On the device of the batch. Its ``privileged_keys``, where there are any, are fields of ``SliceBatch``.
        batch: Slices.
    """
    privileged = {key: getattr(batch, key) for key in getattr(network, "privileged_keys", ())}
    with evaluating(network):
        return network(batch.image, **privileged)


class Answers:
    """Gathers class probabilities batch by batch, under a name for each condition that the slices were shown in."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self._names: dict[str, list[str]] = {name: [] for name in NAMES}
        self._label: list[Tensor] = []
        self._probabilities: dict[str, list[Tensor]] = {}

    def __len__(self) -> int:
        return len(self._names["id"])

    def add(self, batch: SliceBatch, logits: Mapping[str, Tensor]) -> None:
        """Adds slices.

        Args:
            batch: The slices, each shown once in all.
            logits: ``(B, K)`` by condition, the same conditions in every call.
        """
        for name, kept in self._names.items():
            kept += getattr(batch, name)
        self._label.append(batch.label.cpu())
        for condition, values in logits.items():
            probabilities = values.detach().double().softmax(dim=1).cpu()
            self._probabilities.setdefault(condition, []).append(probabilities)

    def tables(self) -> dict[str, Predictions]:
        """A table of predictions by condition, over the same slices in the same order.

        Raises:
            PredictionError: An id repeats, a probability is not finite, or there are no slices.
        """
        names: dict[str, NDArray[np.str_]] = {
            name: np.array(values, dtype=np.str_) for name, values in self._names.items()
        }
        label = torch.cat(self._label).numpy() if self._label else np.zeros(0, dtype=np.int64)
        return {
            condition: Predictions(**names, label=label, probabilities=torch.cat(parts).numpy(), classes=self.classes)
            for condition, parts in self._probabilities.items()
        }


def _plain(value: Any, device: torch.device | str) -> Tensor:
    return torch.as_tensor(value).as_subclass(Tensor).detach().to(device)
