"""Adapters to logits, feature taps, fusion layers and weights."""

from kdmri_monai.networks.adapters import FirstOutput, PooledClassifier
from kdmri_monai.networks.fusion import AttentionBasedFusion, Fusion, get_fusion_layer
from kdmri_monai.networks.taps import FeatureTaps, Tap, tap_shapes
from kdmri_monai.networks.weights import WeightsError, load_weights

__all__ = [
    "AttentionBasedFusion",
    "FeatureTaps",
    "FirstOutput",
    "Fusion",
    "PooledClassifier",
    "Tap",
    "WeightsError",
    "get_fusion_layer",
    "load_weights",
    "tap_shapes",
]
