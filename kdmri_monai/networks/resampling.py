"""Maps brought to a common size and scale, without parameters."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def channel_norm(maps: Tensor) -> Tensor:
    """LayerNorm over the channels of every position, without parameters; shape ``(B, C, *spatial)``."""
    return F.layer_norm(maps.movedim(1, -1), maps.shape[1:2]).movedim(-1, 1)


def match_size(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps ``(B, C, *spatial)`` at another spatial size: area pooling where larger, (bi)linear where smaller."""
    if tuple(maps.shape[2:]) == tuple(size):
        return maps
    if all(have >= want for have, want in zip(maps.shape[2:], size, strict=True)):
        return area_pool(maps, size)
    mode = "bilinear" if maps.ndim == 4 else "trilinear"
    return F.interpolate(maps, size=tuple(size), mode=mode, align_corners=False)


def area_pool(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Mean over the area of every pixel of the smaller grid, shape ``(B, C, *size)``."""
    return F.interpolate(maps, size=tuple(size), mode="area")


def pooled(features: Tensor) -> Tensor:
    """Vectors ``(B, C)``: maps ``(B, C, *spatial)`` averaged over space, vectors as they are."""
    return features.flatten(start_dim=2).mean(dim=2) if features.ndim > 2 else features
