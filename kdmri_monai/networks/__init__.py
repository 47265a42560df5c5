"""Adapters to logits, feature taps, fusion layers and weights."""

from kdmri_monai.networks.adapters import FirstOutput, PooledClassifier
from kdmri_monai.networks.ensembles import TeacherEnsemble
from kdmri_monai.networks.fusion import (
    AttentionBasedFusion,
    BiFPNFusion,
    ConcatFusion,
    CrossAttentionFusion,
    Fusion,
    get_fusion_layer,
)
from kdmri_monai.networks.geometry.maps import GeometricMaps
from kdmri_monai.networks.geometry_classifier import GeometryClassifier
from kdmri_monai.networks.geometry_head import GeometryHead
from kdmri_monai.networks.geometry_teacher import GeometryTeacher
from kdmri_monai.networks.imagenet import ImageNetEfficientNet
from kdmri_monai.networks.tap_survey import TapRow, survey
from kdmri_monai.networks.taps import FeatureTaps, Tap, as_tap, tap_shapes
from kdmri_monai.networks.weight_import import ImportReport, ImportRules, import_weights
from kdmri_monai.networks.weights import WeightsError, load_weights

__all__ = [
    "AttentionBasedFusion",
    "BiFPNFusion",
    "ConcatFusion",
    "CrossAttentionFusion",
    "FeatureTaps",
    "FirstOutput",
    "Fusion",
    "GeometricMaps",
    "GeometryClassifier",
    "GeometryHead",
    "GeometryTeacher",
    "ImageNetEfficientNet",
    "ImportReport",
    "ImportRules",
    "PooledClassifier",
    "Tap",
    "TapRow",
    "TeacherEnsemble",
    "WeightsError",
    "as_tap",
    "get_fusion_layer",
    "import_weights",
    "load_weights",
    "survey",
    "tap_shapes",
]
