"""What all fusion layers share: the lists of scales, maps brought to another size, a convolution with its norm."""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from monai.networks.layers import Conv, get_norm_layer
from torch import Tensor, nn

from kdmri_monai.networks.resampling import area_pool

LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
"""Mode of ``torch.nn.functional.interpolate`` by spatial dimensions."""

LayerName = str | tuple[str, dict[str, Any]]
"""A layer as MONAI's factories name it: ``"batch"`` or ``("group", {"num_groups": 4})``."""


def check_scales(spatial_dims: int, in_channels: Sequence[int], out_channels: Sequence[int]) -> None:
    """Refuse arguments that name no scales, or not the same on both sides.

    Raises:
        ValueError: ``spatial_dims`` is not 1, 2 or 3; no scales; not as many ``out_channels`` as ``in_channels``.
    """
    if spatial_dims not in LINEAR:
        raise ValueError(f"spatial_dims is {spatial_dims}, it must be 1, 2 or 3")
    if not in_channels:
        raise ValueError("in_channels is empty, a fusion layer wants at least one scale")
    if len(in_channels) != len(out_channels):
        raise ValueError(f"in_channels {list(in_channels)} and out_channels {list(out_channels)} name other scales")


def check_maps(features: Sequence[Tensor], scales: int) -> None:
    """Refuse a list of maps that is not as long as there are scales.

    Raises:
        ValueError: Not as many maps as scales.
    """
    if len(features) != scales:
        raise ValueError(f"got {len(features)} maps for {scales} scales")


def resample(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps ``(B, C, *spatial)`` at another size: area mean along axes that shrink, (bi)linear along those that grow.

    Args:
        maps: One to three spatial axes.
        size: Wanted length of every spatial axis, pixels.
    """
    smaller = [min(have, want) for have, want in zip(maps.shape[2:], size, strict=True)]
    if smaller != list(maps.shape[2:]):
        maps = area_pool(maps, smaller)
    if smaller != list(size):
        maps = F.interpolate(maps, size=tuple(size), mode=LINEAR[maps.ndim - 2], align_corners=False)
    return maps


def conv_norm(
    spatial_dims: int, in_channels: int, out_channels: int, kernel_size: int = 1, norm: LayerName = "batch"
) -> nn.Sequential:
    """A convolution that keeps the size, without bias, and a normalisation; no activation.

    Args:
        spatial_dims: 1, 2 or 3.
        in_channels: Channels of the maps.
        out_channels: Channels wanted.
        kernel_size: Pixels along every axis, odd.
        norm: Normalisation as ``monai.networks.layers.get_norm_layer`` takes it.

    Raises:
        ValueError: ``kernel_size`` is not odd and positive.
    """
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size is {kernel_size}, it must be odd and positive so that sizes are kept")
    convolution = Conv[Conv.CONV, spatial_dims](
        in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False
    )
    return nn.Sequential(convolution, get_norm_layer(norm, spatial_dims=spatial_dims, channels=out_channels))
