"""Multi-scale fusion layers, chosen by name as MONAI chooses ``Norm``: ``Fusion["ABF", 2](...)``.

Every member takes ``in_channels`` and ``out_channels`` (one number a scale) and maps a list of maps, finest first, to a
list of fused maps of the same sizes. None of them knows of distillation.
"""

from kdmri_monai.networks.fusion.abf import AttentionBasedFusion
from kdmri_monai.networks.fusion.bifpn import BiFPNFusion
from kdmri_monai.networks.fusion.concat import ConcatFusion
from kdmri_monai.networks.fusion.cross_attention import CrossAttentionFusion
from kdmri_monai.networks.fusion.factory import Fusion, get_fusion_layer

__all__ = [
    "AttentionBasedFusion",
    "BiFPNFusion",
    "ConcatFusion",
    "CrossAttentionFusion",
    "Fusion",
    "get_fusion_layer",
]
