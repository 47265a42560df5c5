"""Fusion layers chosen by name, as MONAI chooses ``Norm``: ``Fusion["ABF", 2](...)``."""

from collections.abc import Sequence

from monai.networks.layers import LayerFactory, split_args
from torch import nn

from kdmri_monai.networks.fusion.abf import AttentionBasedFusion
from kdmri_monai.networks.fusion.bifpn import BiFPNFusion
from kdmri_monai.networks.fusion.concat import ConcatFusion
from kdmri_monai.networks.fusion.cross_attention import CrossAttentionFusion
from kdmri_monai.networks.fusion.scales import LayerName

Fusion = LayerFactory(name="Fusion layers", description="Layers that fuse feature maps of several scales.")

Fusion.add_factory_class("abf", AttentionBasedFusion, "Top-down gated fusion (ReviewKD, CVPR 2021).")
Fusion.add_factory_class(
    "cross_attention", CrossAttentionFusion, "Self-attention over pooled tokens of all scales (after PAT, ICCV 2025)."
)
Fusion.add_factory_class("bifpn", BiFPNFusion, "Weighted fusion, top-down then bottom-up (EfficientDet, CVPR 2020).")
Fusion.add_factory_class("concat", ConcatFusion, "All scales at every scale, concatenated: the plain baseline.")


def get_fusion_layer(
    name: LayerName, spatial_dims: int, in_channels: Sequence[int], out_channels: Sequence[int]
) -> nn.Module:
    """A fusion layer by name and arguments, as ``monai.networks.layers.get_norm_layer`` makes a normalisation.

    Args:
        name: ``"abf"``, ``"cross_attention"``, ``"bifpn"`` or ``"concat"`` in any case, or name and arguments as in
            ``("cross_attention", {"num_heads": 4})``; a list, as JSON has it, will do for the pair.
        spatial_dims: 1, 2 or 3.
        in_channels: Channels of every scale, finest first.
        out_channels: Channels wanted of every scale.

    Returns:
        A module from a list of maps ``(B, in_channels[l], *spatial_l)`` to a list of maps
        ``(B, out_channels[l], *spatial_l)``.

    Raises:
        ValueError: Unknown name (MONAI's message lists the known ones), no pair of name and arguments, or arguments
            that the layer refuses.

    Example:
        >>> fusion = get_fusion_layer(("bifpn", {"width": 32}), 2, in_channels=[64, 128], out_channels=[96, 96])
        >>> fine, coarse = fusion([torch.rand(2, 64, 28, 28), torch.rand(2, 128, 14, 14)])
    """
    if not isinstance(name, str) and len(name) != 2:
        raise ValueError(f"a fusion layer is a name, or a name and a mapping of arguments; got {name!r}")
    kind, arguments = split_args(name)
    layer: nn.Module = Fusion[kind, spatial_dims](
        spatial_dims=spatial_dims, in_channels=in_channels, out_channels=out_channels, **arguments
    )
    return layer
