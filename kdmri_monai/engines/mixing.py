"""Mixup: convex combinations of images and of their labels."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

FAINT = 1 / 256  # less than a grey level


class MixUp:
    """Mixes every sample of a batch with another one of it, for teacher and student alike.

    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018, section 2; on teacher and student at
    once: Beyer et al., "Knowledge distillation: A good teacher is patient and consistent", CVPR 2022, section 3.
    Differs: one lambda for every sample, where figure 1 of the paper draws one for a batch, so that no whole step is
    nearly unmixed; and the larger share is always the sample's own. A mixed image is distributed as before, since
    partners are a random order and Beta(alpha, alpha) is symmetric, and label, id and patient of a sample remain those
    of its main part. A share below 1 / 256 is none at all. A sample keeps its mask where its own tumour is plainly the
    one that is seen, that is where its share is ``mask_share`` or more: with alpha 0.4 these are three of four.

    Random numbers come from torch's global generator of the CPU, so they are the same on every device and for every
    run that seeds its epochs.

    Args:
        num_classes: Classes ``K``.
        alpha: Of the Beta distribution; 0.2 mixes little, 1 draws shares evenly.
        probability: That a sample is mixed at all.
        mask_share: Least share of a sample with which it keeps its mask, above 0.5; 1 for samples that are not mixed
            alone.

    Raises:
        ValueError: ``alpha`` is not positive, ``probability`` is none, or ``mask_share`` is outside (0.5, 1].
    """

    def __init__(
        self, num_classes: int, alpha: float = 0.2, probability: float = 1.0, mask_share: float = 0.75
    ) -> None:
        if not alpha > 0:
            raise ValueError(f"alpha is {alpha}, it must be above 0; for no mixup leave it out")
        if not 0 <= probability <= 1:
            raise ValueError(f"probability is {probability}, allowed are 0 to 1")
        if not 0.5 < mask_share <= 1:
            raise ValueError(f"mask_share is {mask_share}, it must be above 0.5 and at most 1")
        self.num_classes = num_classes
        self.alpha = alpha
        self.probability = probability
        self.mask_share = mask_share

    def __call__(self, batchdata: dict[str, Any], target: Tensor) -> tuple[Tensor, Tensor]:
        """Mixed images and their targets; ``has_mask`` becomes False where too much of another sample is in one.

        Args:
            batchdata: Has ``image`` ``(B, C, *spatial)`` and, where masks are loaded, ``has_mask`` ``(B,)``.
            target: Classes ``(B,)`` or distributions over them ``(B, K)``.

        Returns:
            Images of the shape of ``image``, and soft targets ``(B, K)``.
        """
        image, soft = batchdata["image"], as_distributions(target, self.num_classes)
        order = torch.randperm(len(image))
        own = self._own_shares(order)
        order, own = order.to(image.device), own.to(image.device)
        if "has_mask" in batchdata:
            batchdata["has_mask"] = batchdata["has_mask"] & (own >= self.mask_share)
        return _blend(image, order, own), _blend(soft, order, own)

    def _own_shares(self, order: Tensor) -> Tensor:
        """Share of the sample itself, 0.5 to 1, float64; 1 where it is not mixed."""
        batch = len(order)
        drawn = torch.distributions.Beta(*torch.tensor([self.alpha, self.alpha], dtype=torch.float64)).sample((batch,))
        own = torch.maximum(drawn, 1 - drawn)
        alone = (own > 1 - FAINT) | (torch.rand(batch) >= self.probability) | (order == torch.arange(batch))
        return own.masked_fill(alone, 1.0)


def as_distributions(target: Tensor, num_classes: int) -> Tensor:
    """Classes ``(B,)`` as distributions ``(B, K)``, float32; distributions as they are."""
    return target if target.ndim == 2 else F.one_hot(target, num_classes).float()


def _blend(values: Tensor, order: Tensor, own: Tensor) -> Tensor:
    share = own.to(values.dtype).reshape(-1, *[1] * (values.ndim - 1))
    return share * values + (1 - share) * values[order]
