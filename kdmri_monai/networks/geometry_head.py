"""A head by which a student learns to see the tumour: it predicts its geometry and pools class evidence inside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.layers import Conv, Norm
from torch import Tensor, nn

from kdmri_monai.networks.fusion import get_fusion_layer
from kdmri_monai.networks.resampling import match_size, pooled

RINGS = ("core", "rim", "near", "far", "rest")
MAP_CHANNELS = 2 + len(RINGS)


@dataclass(frozen=True)
class PredictedGeometry:
    """Geometric maps as a student predicts them.

    Attributes:
        mask: Probability of tumour, shape ``(B, 1, *spatial)``.
        distance: Signed distance to the border, positive inside, in units of the limit that the targets were divided
            by, shape ``(B, 1, *spatial)``.
        rings: Probability of every ring of ``RINGS``, shape ``(B, 5, *spatial)``.
    """

    mask: Tensor
    distance: Tensor
    rings: Tensor


def split_maps(maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mask logit, distance and ring logits of raw maps ``(B, 7, *spatial)``.

    Raises:
        ValueError: Another number of channels.
    """
    if maps.shape[1] != MAP_CHANNELS:
        raise ValueError(f"geometric maps have {MAP_CHANNELS} channels (mask, distance, rings), got {maps.shape[1]}")
    mask, distance, rings = maps.split([1, 1, len(RINGS)], dim=1)
    return mask, distance, rings


def predicted_geometry(maps: Tensor) -> PredictedGeometry:
    """Raw maps ``(B, 7, *spatial)`` as probabilities and distance."""
    mask, distance, rings = split_maps(maps)
    return PredictedGeometry(mask.sigmoid(), distance, rings.softmax(dim=1))


class GeometryHead(nn.Module):
    """Fuses a network's own features, predicts mask, signed distance and rings from them, and pools evidence there.

    The maps are predicted at the finest scale by ``maps``, whose output ``(B, 7, H_1, W_1)`` the term ``geometry``
    reads through a tap. Every fused scale is then averaged inside the predicted tumour and each predicted ring, and
    over the whole image; one linear layer turns the averages into logits.

    Args:
        in_channels: Channels of the features, finest first.
        num_classes: Classes ``K``.
        spatial_dims: 2 or 3.
        fusion: Name of a fusion layer, or name and arguments.
        width: Channels of the fused features.
        global_pooling: Whether averages over the whole image take part.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        spatial_dims: int = 2,
        fusion: str | tuple[str, dict[str, Any]] = ("abf", {"width": 32, "kernel_size": 1}),
        width: int = 32,
        global_pooling: bool = True,
    ) -> None:
        super().__init__()
        convolution, norm = Conv[Conv.CONV, spatial_dims], Norm[Norm.BATCH, spatial_dims]
        self.fusion = get_fusion_layer(fusion, spatial_dims, in_channels, [width] * len(in_channels))
        self.maps = nn.Sequential(
            convolution(width, width, 3, padding=1, bias=False),
            norm(width),
            nn.ReLU(inplace=True),
            convolution(width, MAP_CHANNELS, 1),
        )
        self.global_pooling = global_pooling
        averages = 1 + len(RINGS) + int(global_pooling)
        evidence = len(in_channels) * averages * width
        self.norm = nn.LayerNorm(evidence)
        self.classify = nn.Linear(evidence, num_classes)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Logits ``(B, K)`` from maps ``(B, in_channels[l], *spatial_l)``, finest first."""
        fused = self.fusion([F.relu(feature) for feature in features])
        geometry = predicted_geometry(self.maps(F.relu(fused[0])))
        regions = torch.cat([geometry.mask, geometry.rings], dim=1)
        evidence = [average for scale in fused for average in self._averages(scale, regions)]
        logits: Tensor = self.classify(self.norm(torch.cat(evidence, dim=1)))
        return logits

    def _averages(self, scale: Tensor, regions: Tensor) -> list[Tensor]:
        inside = region_means(scale, match_size(regions, scale.shape[2:])).flatten(start_dim=1)
        return [inside, pooled(scale)] if self.global_pooling else [inside]


def region_means(maps: Tensor, regions: Tensor, eps: float = 1e-4) -> Tensor:
    """Weighted means of maps over soft regions.

    Args:
        maps: Shape ``(B, C, *spatial)``.
        regions: Weights, not negative, shape ``(B, R, *spatial)``.
        eps: Share of the image below which a region fades to zero.

    Returns:
        Means, shape ``(B, R, C)``.
    """
    weights = regions.flatten(start_dim=2)
    sums = torch.einsum("brn,bcn->brc", weights, maps.flatten(start_dim=2))
    return sums / (weights.sum(dim=2, keepdim=True) + eps * weights.shape[2])
