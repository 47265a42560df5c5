"""How well a student with a geometry head sees the tumour: overlap of its mask, and where its mask peaks."""

import torch
import torch.nn.functional as F
from monai.metrics import DiceHelper
from torch import Tensor

CUT = 0.5


def map_quality(predicted: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Dice coefficient of a predicted mask, and whether its highest place lies in the tumour.

    Args:
        predicted: Probability of tumour, shape ``(B, 1, h, w)``; enlarged bilinearly to the mask's size, cut at 0.5.
        mask: Tumour, 0 and 1, shape ``(B, 1, H, W)``, something in every sample.

    Returns:
        Dice coefficient, 0..1, and hits, 0 or 1; shape ``(B,)`` each.

    Raises:
        ValueError: The batches differ.
    """
    if len(predicted) != len(mask):
        raise ValueError(f"{len(predicted)} predicted masks for {len(mask)} masks")
    shown = F.interpolate(predicted.float(), size=mask.shape[2:], mode="bilinear", align_corners=False)
    dice = DiceHelper(include_background=True, reduction="none", get_not_nans=False, num_classes=1)(
        (shown >= CUT).float(), mask.float()
    )
    peak = shown.flatten(start_dim=1).argmax(dim=1, keepdim=True)
    return torch.as_tensor(dice).reshape(len(mask)), mask.float().flatten(start_dim=1).gather(1, peak)[:, 0]
