"""Batches on the device, augmented there, all samples at once."""

from collections.abc import Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.engines import PrepareBatch
from torch import Tensor, nn


class AugmentedBatch(PrepareBatch):
    """Moves a batch to the device and augments it there; teacher and student then see one and the same view.

    Masks named in ``mask_keys`` follow the image through every geometric step. The batch itself is changed, so that
    loss terms find the augmented image and masks in it.

    Args:
        augmentation: Maps ``(B, C, H, W)`` to the same shape; a ``kornia.augmentation.AugmentationSequential`` where
            there are masks. ``None`` leaves the images as they are.
        mask_keys: Keys of masks ``(B, 1, H, W)``.
    """

    def __init__(self, augmentation: nn.Module | None = None, mask_keys: Sequence[str] = ()) -> None:
        self.augmentation = augmentation
        self.mask_keys = tuple(mask_keys)

    def __call__(
        self,
        batchdata: dict[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor]:
        """Image ``(B, C, H, W)`` and label ``(B,)`` on the device, plain tensors.

        Raises:
            KeyError: The batch lacks the image, the label or a mask.
        """
        for key in ("image", "label", *self.mask_keys):
            value = batchdata[key]
            plain = value.as_tensor() if isinstance(value, MetaTensor) else value
            batchdata[key] = plain.to(device=device, non_blocking=non_blocking, **kwargs)
        if self.augmentation is not None:
            with torch.no_grad():
                self._augment(batchdata)
        return batchdata["image"], batchdata["label"]

    def _augment(self, batchdata: dict[str, Any]) -> None:
        assert self.augmentation is not None
        keys = ["image", *self.mask_keys]
        if len(keys) == 1:
            batchdata["image"] = self.augmentation(batchdata["image"])
            return
        augmented = self.augmentation(
            *(batchdata[key] for key in keys), data_keys=["input"] + ["mask"] * (len(keys) - 1)
        )
        batchdata.update(zip(keys, augmented, strict=True))
