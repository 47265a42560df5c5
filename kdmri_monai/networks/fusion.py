"""Multi-scale fusion layers, chosen by name as MONAI chooses ``Norm``: ``Fusion["ABF", 2](...)``.

Every member takes ``in_channels`` and ``out_channels`` (one number a scale) and maps a list of maps, finest first, to a
list of fused maps of the same sizes. None of them knows of distillation.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.layers import Conv, LayerFactory, Norm, split_args
from torch import Tensor, nn

Fusion = LayerFactory(name="Fusion layers", description="Layers that fuse feature maps of several scales.")

_INTERPOLATION = {1: "linear", 2: "bilinear", 3: "trilinear"}


class AttentionBasedFusion(nn.Module):
    """Top-down gated fusion (ABF): every scale is blended with what comes from the coarser ones.

    Source: Chen et al., "Distilling Knowledge via Knowledge Review", CVPR 2021, section 3.3, figure 3 (a).
    Differs: the coarser map is enlarged by (bi)linear interpolation, since nearest neighbours put block edges, which
        only
    one of two architectures has, into the maps that are compared.

    Args:
        spatial_dims: 1, 2 or 3.
        in_channels: Channels of every scale, finest first.
        out_channels: Channels wanted of every scale, as many as ``in_channels``.
        width: Channels in which the scales meet.

    Raises:
        ValueError: No scales, or not as many ``out_channels`` as ``in_channels``.
    """

    def __init__(
        self, spatial_dims: int, in_channels: Sequence[int], out_channels: Sequence[int], width: int = 64
    ) -> None:
        super().__init__()
        if not in_channels or len(in_channels) != len(out_channels):
            raise ValueError(f"in_channels {list(in_channels)} and out_channels {list(out_channels)} name other scales")
        convolution, norm = Conv[Conv.CONV, spatial_dims], Norm[Norm.BATCH, spatial_dims]
        self.mode = _INTERPOLATION[spatial_dims]
        self.lateral = nn.ModuleList(
            nn.Sequential(convolution(channels, width, 1, bias=False), norm(width)) for channels in in_channels
        )
        self.gates = nn.ModuleList(convolution(2 * width, 2, 1) for _ in in_channels[1:])
        self.project = nn.ModuleList(
            nn.Sequential(convolution(width, channels, 3, padding=1, bias=False), norm(channels))
            for channels in out_channels
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Fused maps, ``(B, out_channels[l], *spatial_l)`` for maps ``(B, in_channels[l], *spatial_l)``, finest first.

        Raises:
            ValueError: Not as many maps as scales.
        """
        if len(features) != len(self.lateral):
            raise ValueError(f"got {len(features)} maps for {len(self.lateral)} scales")
        carried = self.lateral[-1](features[-1])
        fused = [self.project[-1](carried)]
        for lateral, gates, project, feature in zip(
            self.lateral[-2::-1], self.gates[::-1], self.project[-2::-1], features[-2::-1], strict=True
        ):
            fine = lateral(feature)
            coarse = F.interpolate(carried, size=fine.shape[2:], mode=self.mode, align_corners=False)
            gate = torch.sigmoid(gates(torch.cat([fine, coarse], dim=1)))
            carried = fine * gate[:, 0:1] + coarse * gate[:, 1:2]
            fused.insert(0, project(carried))
        return fused


Fusion.add_factory_class("abf", AttentionBasedFusion, "Top-down gated fusion of ReviewKD.")


def get_fusion_layer(
    name: tuple[str, dict[str, Any]] | str, spatial_dims: int, in_channels: Sequence[int], out_channels: Sequence[int]
) -> nn.Module:
    """A fusion layer by name and arguments, as ``monai.networks.layers.get_norm_layer`` makes a normalisation.

    Args:
        name: ``"abf"``, or name and arguments as in ``("abf", {"width": 32})``.
        spatial_dims: 2 or 3.
        in_channels: Channels of every scale, finest first.
        out_channels: Channels wanted of every scale.

    Raises:
        ValueError: Unknown name; MONAI's message lists the known ones.
    """
    kind, arguments = split_args(tuple(name) if isinstance(name, list) else name)
    layer: nn.Module = Fusion[kind, spatial_dims](
        spatial_dims=spatial_dims, in_channels=in_channels, out_channels=out_channels, **arguments
    )
    return layer
