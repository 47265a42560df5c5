"""Weighted fusion in both directions (BiFPN)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.layers import Conv, get_act_layer
from torch import Tensor, nn

from kdmri_monai.networks.fusion.scales import LayerName, check_maps, check_scales, conv_norm, resample


def fast_normalised_fusion(maps: Sequence[Tensor], weights: Tensor, epsilon: float = 1e-4) -> Tensor:
    """Weighted mean ``sum_i relu(w_i) x_i / (epsilon + sum_j relu(w_j))``.

    Source: Tan et al., "EfficientDet", CVPR 2020, section 3.3, "fast normalized fusion".

    Args:
        maps: Maps of one shape ``(B, C, *spatial)``.
        weights: One for every map, shape ``(len(maps),)``.
        epsilon: Keeps the division finite where no weight is positive.

    Raises:
        ValueError: Not as many weights as maps.
    """
    if weights.shape != (len(maps),):
        raise ValueError(f"weights of shape {tuple(weights.shape)} for {len(maps)} maps")
    positive = F.relu(weights)
    shares = positive / (epsilon + positive.sum())
    fused = maps[0] * shares[0]
    for other, share in zip(maps[1:], shares[1:], strict=True):
        fused = fused + other * share
    return fused


class BiFPNFusion(nn.Module):
    """Top-down, then bottom-up weighted fusion, repeated.

    For scale ``l`` of one repeat, finest first: ``td_l = c(x_l, up(td_{l+1}))`` with ``td_L = x_L``, then
    ``y_1 = td_1``, ``y_l = c(x_l, td_l, down(y_{l-1}))`` between the ends and ``y_L = c(x_L, down(y_{L-1}))``;
    ``c`` is the fast normalised fusion, a depthwise separable convolution, normalisation and activation, with weights
    of its own at every place.

    Source: Tan et al., "EfficientDet: Scalable and Efficient Object Detection", CVPR 2020, sections 3.2 and 3.3,
        figure 2 (d).
    Differs: maps grow by (bi)linear interpolation and shrink by area means; every scale ends in a 1 x 1 projection to
        the channels wanted of it, without activation.

    Args:
        spatial_dims: 1, 2 or 3.
        in_channels: Channels of every scale, finest first.
        out_channels: Channels wanted of every scale, as many as ``in_channels``.
        width: Channels in which the scales meet.
        depth: Repeats of the two passes.
        norm: Normalisation as ``monai.networks.layers.get_norm_layer`` takes it.
        act: Activation as ``monai.networks.layers.get_act_layer`` takes it; the paper's is swish (section 5).

    Raises:
        ValueError: ``spatial_dims`` is not 1, 2 or 3; no scales, or not as many ``out_channels`` as ``in_channels``;
            ``depth`` below 1.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: Sequence[int],
        out_channels: Sequence[int],
        width: int = 64,
        depth: int = 1,
        norm: LayerName = "batch",
        act: LayerName = "swish",
    ) -> None:
        super().__init__()
        check_scales(spatial_dims, in_channels, out_channels)
        if depth < 1:
            raise ValueError(f"depth is {depth}, it must be at least 1")
        self.lateral = nn.ModuleList(conv_norm(spatial_dims, channels, width, norm=norm) for channels in in_channels)
        self.repeats = nn.ModuleList(_TwoPasses(spatial_dims, len(in_channels), width, norm, act) for _ in range(depth))
        self.project = nn.ModuleList(conv_norm(spatial_dims, width, channels, norm=norm) for channels in out_channels)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Fused maps, ``(B, out_channels[l], *spatial_l)`` for maps ``(B, in_channels[l], *spatial_l)``, finest first.

        Raises:
            ValueError: Not as many maps as scales.
        """
        check_maps(features, len(self.lateral))
        maps = [lateral(feature) for lateral, feature in zip(self.lateral, features, strict=True)]
        for repeat in self.repeats:
            maps = repeat(maps)
        return [project(fused) for project, fused in zip(self.project, maps, strict=True)]


class _TwoPasses(nn.Module):
    """One repeat: the nodes of the top-down pass, second coarsest to finest, then those of the bottom-up pass."""

    def __init__(self, spatial_dims: int, scales: int, width: int, norm: LayerName, act: LayerName) -> None:
        super().__init__()
        self.top_down = nn.ModuleList(_Node(spatial_dims, 2, width, norm, act) for _ in range(scales - 1))
        self.bottom_up = nn.ModuleList(
            _Node(spatial_dims, 2 if scale == scales - 1 else 3, width, norm, act) for scale in range(1, scales)
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        descended = [maps[-1]]
        for node, own in zip(self.top_down, maps[-2::-1], strict=True):
            descended.insert(0, node([own, resample(descended[0], own.shape[2:])]))
        fused = [descended[0]]
        for scale, node in enumerate(self.bottom_up, start=1):
            inputs = [maps[scale], resample(fused[-1], maps[scale].shape[2:])]
            if scale < len(self.bottom_up):
                inputs.insert(1, descended[scale])
            fused.append(node(inputs))
        return fused


class _Node(nn.Module):
    """Fast normalised fusion of so many maps, depthwise separable convolution, normalisation, activation."""

    def __init__(self, spatial_dims: int, inputs: int, width: int, norm: LayerName, act: LayerName) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(inputs))
        self.depthwise = Conv[Conv.CONV, spatial_dims](width, width, 3, padding=1, groups=width, bias=False)
        self.pointwise = conv_norm(spatial_dims, width, width, norm=norm)
        self.act = get_act_layer(act)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        fused: Tensor = self.act(self.pointwise(self.depthwise(fast_normalised_fusion(maps, self.weights))))
        return fused
