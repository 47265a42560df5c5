"""All slices of a split at once, for controls that learn from hand-made features on the processor."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from kdmri_monai.evaluation.slice_batches import SliceBatch, read_batch


def whole_split(batches: Iterable[Mapping[str, Any]]) -> SliceBatch:
    """The slices of all batches as one batch on the CPU; two numbers of four bytes a pixel.

    Args:
        batches: As ``read_batch`` takes them.

    Raises:
        ValueError: No slices, a key is missing, images of different sizes.
    """
    return joined([read_batch(batch, "cpu") for batch in batches])


def joined(parts: Iterable[SliceBatch]) -> SliceBatch:
    """Batches on one device, one after the other.

    Raises:
        ValueError: No slices, images of different sizes.
    """
    parts = [part for part in parts if len(part)]
    if not parts:
        raise ValueError("the split has no slices")
    sizes = sorted({tuple(part.image.shape[1:]) for part in parts})
    if len(sizes) > 1:
        raise ValueError(f"images are of different sizes: {', '.join(map(str, sizes))}")
    return SliceBatch(
        image=torch.cat([part.image for part in parts]),
        mask=torch.cat([part.mask for part in parts]),
        has_mask=torch.cat([part.has_mask for part in parts]),
        label=torch.cat([part.label for part in parts]),
        id=tuple(name for part in parts for name in part.id),
        patient=tuple(name for part in parts for name in part.patient),
        family=tuple(name for part in parts for name in part.family),
    )
