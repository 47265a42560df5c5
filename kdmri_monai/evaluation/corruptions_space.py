"""Corruptions of place and sharpness: blur, coarse pixels, rotation; and the rigid moves that motion is made of.

Lengths are per cent of the field of view, which is the longer side of the image, so that a strength means the same at
every image size. Each takes images 0..1 and gives images 0..1.
"""

from math import ceil

import torch
import torch.nn.functional as F
from kornia.filters import gaussian_blur2d
from kornia.geometry.transform import get_rotation_matrix2d, warp_affine
from torch import Tensor

TRUNCATE = 4.0
"""Standard deviations at which a Gaussian kernel ends."""


def gaussian_blur(image: Tensor, percent: float) -> Tensor:
    """Blur with a Gaussian; beyond its border an image goes on as it ends.

    Args:
        image: Shape ``(B, 1, H, W)``, 0..1.
        percent: Standard deviation, per cent of the field of view.
    """
    sigma = in_pixels(image, percent)
    width = 2 * ceil(TRUNCATE * sigma) + 1
    return gaussian_blur2d(image, (width, width), (sigma, sigma), border_type="replicate").clamp(0, 1)


def coarse_pixels(image: Tensor, percent: float) -> Tensor:
    """Down to larger pixels with an antialiasing filter and up again, both linear.

    Args:
        image: Shape ``(B, 1, H, W)``, 0..1. Pixels that are as large already stay as they are.
        percent: Edge of a larger pixel, per cent of the field of view.
    """
    edge, size = in_pixels(image, percent), image.shape[2:]
    small = [min(side, max(1, round(side / edge))) for side in size]
    coarse = F.interpolate(image, small, mode="bilinear", antialias=True)
    return F.interpolate(coarse, size, mode="bilinear").clamp(0, 1)


def rotation(image: Tensor, degrees: float, direction: Tensor) -> Tensor:
    """Turned about the centre, black where nothing is known.

    Args:
        image: Shape ``(B, 1, H, W)``, 0..1.
        degrees: Angle.
        direction: 1 to the left, -1 to the right, shape ``(B, 1)``.
    """
    return moved(image, degrees * direction[:, 0], image.new_zeros(len(image), 2))


def moved(image: Tensor, degrees: Tensor, shift: Tensor) -> Tensor:
    """Turned to the left about the centre, then shifted; linear interpolation, black where nothing is known.

    Args:
        image: Shape ``(B, 1, H, W)``, 0..1.
        degrees: Angles, shape ``(B,)``.
        shift: To the right and down, per cent of the field of view, shape ``(B, 2)``.
    """
    rows, columns = image.shape[2:]
    centre = image.new_tensor([(columns - 1) / 2, (rows - 1) / 2]).expand(len(image), 2)
    matrix = get_rotation_matrix2d(centre, degrees.to(image), torch.ones_like(centre))
    matrix = torch.cat([matrix[..., :2], matrix[..., 2:] + in_pixels(image, 1.0) * shift.to(image)[..., None]], dim=2)
    return warp_affine(image, matrix, (rows, columns), align_corners=True).clamp(0, 1)


def in_pixels(image: Tensor, percent: float) -> float:
    """A length in per cent of the field of view, in pixels of ``image``, shape ``(B, C, H, W)``."""
    return percent / 100 * max(image.shape[2:])
