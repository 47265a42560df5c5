"""Batches on the device, augmented there, all samples at once."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.engines import PrepareBatch
from torch import Tensor, nn

from kdmri_monai.engines.replay import ReplayedAugmentation

BatchStep = Callable[[dict[str, Any], Tensor], tuple[Tensor, Tensor]]
"""Changes a batch and gives its new image and soft targets ``(B, K)``: ``TumourErasing``, ``MixUp``."""


class AugmentedBatch(PrepareBatch):
    """Moves a batch to the device and augments it there; teacher and student then see one and the same view.

    Masks named in ``mask_keys`` follow the image through every geometric step. The batch itself is changed, so that
    loss terms find the augmented image and masks in it, and beside masks the flag ``has_mask`` ``(B,)``: False where
    there was no mask or where augmentation has moved a mask wholly out of the image.

    Steps, in this order: move, repeat, augment, erase, mix.

    Args:
        augmentation: Maps ``(B, C, H, W)`` to the same shape; a ``kornia.augmentation.AugmentationSequential`` where
            there are masks. ``None`` leaves the images as they are.
        mask_keys: Keys of masks ``(B, 1, H, W)``, of 0 and 1 in any type.
        views: Views of every sample: a batch of B becomes one of ``views * B``, first all samples, then all again,
            each augmented on its own; whatever has the length of the batch is repeated with it.
        privileged_keys: What a network that is trained on more than the image is given as keyword arguments, such as
            ``("mask", "has_mask")``.
        erasing: A ``TumourErasing``.
        mixing: A ``MixUp``.

    Raises:
        ValueError: ``views`` is below 1.
    """

    def __init__(
        self,
        augmentation: nn.Module | None = None,
        mask_keys: Sequence[str] = (),
        views: int = 1,
        privileged_keys: Sequence[str] = (),
        erasing: BatchStep | None = None,
        mixing: BatchStep | None = None,
    ) -> None:
        if views < 1:
            raise ValueError(f"views is {views}, a batch has at least 1")
        self.augmentation = augmentation
        self.mask_keys = tuple(mask_keys)
        self.views = views
        self.privileged_keys = tuple(privileged_keys)
        self.steps = tuple(step for step in (erasing, mixing) if step is not None)

    def __call__(
        self,
        batchdata: dict[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor] | tuple[Tensor, Tensor, tuple[()], dict[str, Tensor]]:
        """Image ``(B, C, H, W)`` and target on the device, plain tensors.

        The target is the label ``(B,)``, or soft targets ``(B, K)`` where samples are erased or mixed. With
        ``privileged_keys``, MONAI's four: image, target, no further arguments, keyword arguments.

        Raises:
            KeyError: The batch lacks the image, the label, a mask or a privileged entry.
        """
        flag = ["has_mask"] if self.mask_keys else []
        for key in dict.fromkeys(["image", "label", *self.mask_keys, *flag, *self.privileged_keys]):
            if key in flag and key not in batchdata:
                continue  # it is made from the masks
            value = batchdata[key]
            plain = value.as_tensor() if isinstance(value, MetaTensor) else value
            batchdata[key] = plain.to(device=device, non_blocking=non_blocking, **kwargs)
        with torch.no_grad():
            target = self._change(batchdata)
        if not self.privileged_keys:
            return batchdata["image"], target
        return batchdata["image"], target, (), {key: batchdata[key] for key in self.privileged_keys}

    def _change(self, batchdata: dict[str, Any]) -> Tensor:
        if self.views > 1:
            _repeat(batchdata, self.views)
        for key in self.mask_keys:
            batchdata[key] = batchdata[key].float()
        if self.augmentation is not None:
            self._augment(batchdata, self.augmentation)
        if self.mask_keys:
            self._flag_masks(batchdata)
        target = batchdata["label"]
        for step in self.steps:
            batchdata["image"], target = step(batchdata, target)
        return target

    def _augment(self, batchdata: dict[str, Any], augmentation: nn.Module) -> None:
        if isinstance(augmentation, ReplayedAugmentation):
            augmentation.prepare(batchdata["id"])
        if not self.mask_keys:
            batchdata["image"] = augmentation(batchdata["image"])
            return
        keys = ["image", *self.mask_keys]
        augmented = augmentation(*(batchdata[key] for key in keys), data_keys=["input"] + ["mask"] * (len(keys) - 1))
        batchdata["image"] = augmented[0]
        for key, mask in zip(self.mask_keys, augmented[1:], strict=True):
            batchdata[key] = (mask >= 0.5).float()

    def _flag_masks(self, batchdata: dict[str, Any]) -> None:
        present = torch.stack([batchdata[key].flatten(start_dim=1).any(dim=1) for key in self.mask_keys]).all(dim=0)
        batchdata["has_mask"] = present & batchdata["has_mask"] if "has_mask" in batchdata else present


def _repeat(batchdata: dict[str, Any], times: int) -> None:
    """Everything that has the length of the batch, so many times one after the other."""
    length = len(batchdata["label"])
    for key, value in batchdata.items():
        if isinstance(value, Tensor) and value.ndim and len(value) == length:
            batchdata[key] = value.repeat(times, *[1] * (value.ndim - 1))
        elif isinstance(value, (list, tuple)) and len(value) == length:
            batchdata[key] = list(value) * times
