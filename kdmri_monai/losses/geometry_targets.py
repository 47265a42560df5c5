"""The tumour's geometry as a target of the student's own maps."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from kdmri_monai.losses.terms import DistillationInputs, DistillationTerm
from kdmri_monai.networks.geometry.distance import signed_distance
from kdmri_monai.networks.geometry.rings import relative_rings
from kdmri_monai.networks.geometry_head import MAP_CHANNELS, split_maps
from kdmri_monai.networks.precision import at_least_float32
from kdmri_monai.networks.resampling import area_pool


def geometry_loss(maps: Tensor, mask: Tensor, limit: float = 32.0) -> Tensor:
    """Error of predicted mask, signed distance and rings, sample by sample.

    The sum of binary cross-entropy and soft Dice loss (Milletari et al., 3DV 2016) of the mask, smooth L1 of the
    distance divided by ``limit``, and cross-entropy of the rings. Distance and rings are computed at twice the size of
    the maps, which costs little, and area-pooled, so a coarse cell knows how much of it is tumour or ring.

    Args:
        maps: Raw maps of a ``GeometryHead``, shape ``(B, 7, *spatial_1)``.
        mask: Tumour, 0 and 1, shape ``(B, 1, *spatial)``, at least as large as the maps.
        limit: Distance in pixels of the mask at which the target is cut.

    Returns:
        Loss of every sample, shape ``(B,)``.

    Raises:
        ValueError: ``maps`` has not 7 channels, or the batch sizes differ.
    """
    if maps.shape[0] != mask.shape[0]:
        raise ValueError(f"maps {tuple(maps.shape)} and mask {tuple(mask.shape)} are not of one batch")
    mask_logit, distance, ring_logits = split_maps(at_least_float32(maps))
    size = maps.shape[2:]
    tumour, target_distance, target_rings = geometry_targets(mask.to(mask_logit.dtype), size, limit)
    probability = mask_logit.sigmoid()
    overlap = 2 * _sum(probability * tumour) / (_sum(probability) + _sum(tumour)).clamp_min(1e-6)
    return (
        _mean(F.binary_cross_entropy_with_logits(mask_logit, tumour, reduction="none"))
        + (1 - overlap)
        + _mean(F.smooth_l1_loss(distance, target_distance, reduction="none", beta=0.1))
        - _mean((target_rings * F.log_softmax(ring_logits, dim=1)).sum(dim=1, keepdim=True))
    )


@torch.no_grad()
def geometry_targets(mask: Tensor, size: Sequence[int], limit: float) -> tuple[Tensor, Tensor, Tensor]:
    """Share of tumour, signed distance over ``limit`` (-1..1) and shares of the rings, each at ``size``."""
    double = [min(2 * wanted, have) for wanted, have in zip(size, mask.shape[2:], strict=True)]
    pixels = mask.shape[-1] / double[-1]
    depth = pixels * signed_distance(area_pool(mask, double) >= 0.5)
    distance = area_pool((depth / limit).clamp(-1, 1).to(mask.dtype), size)
    return area_pool(mask, size), distance, area_pool(relative_rings(depth).to(mask.dtype), size)


def _sum(maps: Tensor) -> Tensor:
    return maps.flatten(start_dim=1).sum(dim=1)


def _mean(maps: Tensor) -> Tensor:
    return maps.flatten(start_dim=1).mean(dim=1)


class GeometryTargets(DistillationTerm):
    """``geometry_loss`` as a term: its one student tap is ``head.maps`` of a ``GeometryClassifier``.

    The mask is a target only; slices without one are left out, and a batch without any gives zero.

    Args:
        limit: Distance in pixels at which the target is cut.
    """

    wants: ClassVar[Literal["maps"]] = "maps"
    needs_teacher: ClassVar[bool] = False
    batch_keys: ClassVar[tuple[str, ...]] = ("mask",)

    def __init__(self, limit: float = 32.0) -> None:
        super().__init__()
        if limit <= 0:
            raise ValueError(f"limit is {limit} pixels, it must be positive")
        self.limit = limit

    def build(
        self, student_shapes: Sequence[torch.Size], teacher_shapes: Sequence[torch.Size], num_classes: int
    ) -> None:
        """Check the tap.

        Raises:
            ValueError: Not the one map of 7 channels that a geometry head gives.
        """
        if len(student_shapes) != 1 or student_shapes[0][0] != MAP_CHANNELS:
            raise ValueError(
                f"wants one student tap of {MAP_CHANNELS} channels, the maps of a geometry head: set taps to "
                '{"student": ["head.maps"]} and the student to a GeometryClassifier'
            )

    def forward(self, inputs: DistillationInputs) -> Tensor:
        """Loss, a scalar, the mean over the samples that have a mask.

        Raises:
            ValueError: The batch holds no key ``mask``.
        """
        if "mask" not in inputs.batch:
            raise ValueError("the term on geometry needs masks, but the batch has no key 'mask': load them")
        maps, mask = inputs.student_features[0], inputs.batch["mask"]
        valid = inputs.batch.get("has_mask", torch.ones(len(mask), dtype=torch.bool, device=mask.device))
        weights = valid.to(maps.dtype)
        losses = geometry_loss(maps, mask, self.limit)
        return (losses * weights).sum() / weights.sum().clamp_min(1.0)
