"""A teacher that sees the geometry of the tumour beside the image, as information that only training time has."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.networks.layers import Conv, Norm
from torch import Tensor, nn

from kdmri_monai.networks.backbone_logits import checked_logits, own_logits
from kdmri_monai.networks.fusion import get_fusion_layer
from kdmri_monai.networks.geometry.maps import GeometricMaps
from kdmri_monai.networks.geometry_head import region_means
from kdmri_monai.networks.resampling import match_size, pooled
from kdmri_monai.networks.taps import FeatureTaps, TapSpec, tap_shapes


class GeometryTeacher(nn.Module):
    """An image backbone whose features of several scales are fused with geometric maps.

    Maps that come from the mask are privileged: such a teacher cannot be used where there is no mask, and its results
    are to be reported as those of a teacher that was given the tumour. ``geometry=None`` gives an image-only teacher of
    the same class. Where a sample has no mask its privileged maps are zero.

    Source: learning using privileged information, Vapnik and Vashist, Neural Networks 2009; Lopez-Paz et al.,
        "Unifying distillation and privileged information", ICLR 2016.

    Args:
        backbone: Any network; its logits ``(B, K)``, if it gives any, are added to those of the fused features.
        taps: Where its features are read, finest map first, as for ``FeatureTaps``.
        num_classes: Classes ``K``.
        image_shape: Channels and spatial size of one image, for the dry run that finds the shapes.
        geometry: ``GeometricMaps`` or its arguments; ``None`` for no maps.
        fusion: Name of a fusion layer, or name and arguments.
        width: Channels of the fused features.
        geometry_width: Channels into which the maps are encoded at every scale.
        dropout: Probability of dropping a pooled feature.

    Raises:
        ValueError: A tap that the backbone does not have, or logits of another number of classes.
    """

    def __init__(
        self,
        backbone: nn.Module,
        taps: Sequence[TapSpec],
        num_classes: int,
        image_shape: Sequence[int],
        geometry: GeometricMaps | Mapping[str, Any] | None = None,
        fusion: str | tuple[str, dict[str, Any]] = "abf",
        width: int = 64,
        geometry_width: int = 16,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        checked_logits(backbone, image_shape, num_classes)
        self.backbone = backbone
        self.taps = FeatureTaps(backbone, taps, image_shape)
        channels = [shape[0] for shape in tap_shapes(backbone, taps, image_shape)]
        dimensions = len(image_shape) - 1
        self.geometry = geometry if isinstance(geometry, GeometricMaps | None) else GeometricMaps(**geometry)
        self.encoder = None
        if self.geometry is not None:
            self.encoder = GeometryEncoder(dimensions, self.geometry.out_channels, geometry_width, len(channels))
            channels = [own + geometry_width for own in channels]
        self.fusion = get_fusion_layer(fusion, dimensions, channels, [width] * len(channels))
        evidence = len(channels) * width * (2 if self.privileged_keys else 1)
        self.classify = nn.Sequential(nn.LayerNorm(evidence), nn.Dropout(dropout), nn.Linear(evidence, num_classes))

    @property
    def privileged_keys(self) -> tuple[str, ...]:
        """Keys of the batch that ``forward`` wants beside the image."""
        return ("mask", "has_mask") if self.geometry is not None and self.geometry.from_mask else ()

    @property
    def uses(self) -> str:
        """What this teacher looks at, in words."""
        if self.geometry is None:
            return "image alone"
        parts = [("from the image", self.geometry.from_image), ("from the tumour mask", self.geometry.from_mask)]
        return "image; " + "; ".join(f"{source}: {', '.join(names)}" for source, names in parts if names)

    def forward(self, image: Tensor, mask: Tensor | None = None, has_mask: Tensor | None = None) -> Tensor:
        """Logits, shape ``(B, K)``.

        Args:
            image: Shape ``(B, C, *spatial)``.
            mask: Tumour, 0 and 1, shape ``(B, 1, *spatial)``; ``None`` where there is none.
            has_mask: Which samples have a mask, booleans, shape ``(B,)``; all by default.
        """
        with self.taps.collect() as features:
            output = self.backbone(image)
        scales: list[Tensor] = list(features)
        if self.geometry is not None and self.encoder is not None:
            maps = self.geometry(image=image, mask=mask, has_mask=has_mask)
            sizes = [scale.shape[2:] for scale in scales]
            encoded = self.encoder(maps.to(scales[0].dtype), sizes)
            scales = [torch.cat([scale, seen], dim=1) for scale, seen in zip(scales, encoded, strict=True)]
        fused = self.fusion(scales)
        logits: Tensor = self.classify(torch.cat(self._evidence(fused, mask, has_mask), dim=1))
        own = own_logits(output)
        return logits if own is None else logits + own

    def _evidence(self, fused: Sequence[Tensor], mask: Tensor | None, has_mask: Tensor | None) -> list[Tensor]:
        evidence = [pooled(scale) for scale in fused]
        if not self.privileged_keys:
            return evidence
        if mask is None:
            return evidence + [torch.zeros_like(average) for average in evidence]
        region = mask.to(fused[0].dtype)
        if has_mask is not None:
            region = region * has_mask.to(region.dtype).view(-1, *[1] * (region.ndim - 1))
        return evidence + [
            region_means(scale, match_size(region, scale.shape[2:])).flatten(start_dim=1) for scale in fused
        ]


class GeometryEncoder(nn.Module):
    """Geometric maps at full size, encoded at every scale of a backbone, each from the one before and the maps.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the maps.
        width: Channels at every scale.
        scales: How many.
    """

    def __init__(self, spatial_dims: int, in_channels: int, width: int, scales: int) -> None:
        super().__init__()
        convolution, norm = Conv[Conv.CONV, spatial_dims], Norm[Norm.BATCH, spatial_dims]

        def block(channels: int, stride: int) -> nn.Sequential:
            layer = convolution(channels, width, 3, stride=stride, padding=1, bias=False)
            return nn.Sequential(layer, norm(width), nn.ReLU(inplace=True))

        self.stem = block(in_channels, 2)
        self.blocks = nn.ModuleList(block(width + in_channels, 1) for _ in range(scales))

    def forward(self, maps: Tensor, sizes: Sequence[Sequence[int]]) -> list[Tensor]:
        """Encoded maps ``(B, width, *sizes[l])`` of maps ``(B, in_channels, *spatial)``."""
        encoded, carried = [], self.stem(maps)
        for block, size in zip(self.blocks, sizes, strict=True):
            carried = block(torch.cat([match_size(carried, size), match_size(maps, size)], dim=1))
            encoded.append(carried)
        return encoded
