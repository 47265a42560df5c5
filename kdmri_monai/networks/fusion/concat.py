"""Concatenation of all scales at every scale."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdmri_monai.networks.fusion.scales import LayerName, check_maps, check_scales, conv_norm, resample


class ConcatFusion(nn.Module):
    """Every scale sees all scales at its own size, through one 1 x 1 convolution: the plain baseline.

    ``out_l = norm(W_l [r_l(f_1), ..., r_l(f_L)])`` with ``r_l`` the area mean or (bi)linear interpolation to the size
    of scale ``l``.

    Args:
        spatial_dims: 1, 2 or 3.
        in_channels: Channels of every scale, finest first.
        out_channels: Channels wanted of every scale, as many as ``in_channels``.
        norm: Normalisation as ``monai.networks.layers.get_norm_layer`` takes it.

    Raises:
        ValueError: ``spatial_dims`` is not 1, 2 or 3; no scales, or not as many ``out_channels`` as ``in_channels``.
    """

    def __init__(
        self, spatial_dims: int, in_channels: Sequence[int], out_channels: Sequence[int], norm: LayerName = "batch"
    ) -> None:
        super().__init__()
        check_scales(spatial_dims, in_channels, out_channels)
        self.project = nn.ModuleList(
            conv_norm(spatial_dims, sum(in_channels), channels, norm=norm) for channels in out_channels
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Fused maps, ``(B, out_channels[l], *spatial_l)`` for maps ``(B, in_channels[l], *spatial_l)``.

        Raises:
            ValueError: Not as many maps as scales.
        """
        check_maps(features, len(self.project))
        return [
            project(torch.cat([resample(other, own.shape[2:]) for other in features], dim=1))
            for project, own in zip(self.project, features, strict=True)
        ]
