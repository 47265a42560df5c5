"""Top-down gated fusion."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.layers import Conv
from torch import Tensor, nn

from kdmri_monai.networks.fusion.scales import LINEAR, LayerName, check_maps, check_scales, conv_norm


class AttentionBasedFusion(nn.Module):
    """Top-down gated fusion (ABF): every scale is blended with what comes from the coarser ones.

    Source: Chen et al., "Distilling Knowledge via Knowledge Review", CVPR 2021, section 3.3, figure 3 (a).
    Differs: the coarser map is enlarged by (bi)linear interpolation, since nearest neighbours put block edges, which
        only one of two architectures has, into the maps that are compared; the normalisation and the kernel of the
        output projection can be chosen.

    Args:
        spatial_dims: 1, 2 or 3.
        in_channels: Channels of every scale, finest first.
        out_channels: Channels wanted of every scale, as many as ``in_channels``.
        width: Channels in which the scales meet.
        kernel_size: Pixels along every axis of the output projection, odd; 1 has few parameters.
        norm: Normalisation as ``monai.networks.layers.get_norm_layer`` takes it.

    Raises:
        ValueError: ``spatial_dims`` is not 1, 2 or 3; no scales, or not as many ``out_channels`` as ``in_channels``;
            an even ``kernel_size``.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: Sequence[int],
        out_channels: Sequence[int],
        width: int = 64,
        kernel_size: int = 3,
        norm: LayerName = "batch",
    ) -> None:
        super().__init__()
        check_scales(spatial_dims, in_channels, out_channels)
        self.mode = LINEAR[spatial_dims]
        self.lateral = nn.ModuleList(conv_norm(spatial_dims, channels, width, norm=norm) for channels in in_channels)
        self.gates = nn.ModuleList(Conv[Conv.CONV, spatial_dims](2 * width, 2, 1) for _ in in_channels[1:])
        self.project = nn.ModuleList(
            conv_norm(spatial_dims, width, channels, kernel_size, norm) for channels in out_channels
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Fused maps, ``(B, out_channels[l], *spatial_l)`` for maps ``(B, in_channels[l], *spatial_l)``, finest first.

        Raises:
            ValueError: Not as many maps as scales.
        """
        check_maps(features, len(self.lateral))
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
