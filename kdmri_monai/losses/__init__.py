"""Distillation terms: pure functions on tensors, the modules that learn with them, schedules and their weighted sum."""

from kdmri_monai.losses.features import FusedFeatures, hcl_loss
from kdmri_monai.losses.schedules import Constant, CosineRamp, LinearRamp, Schedule
from kdmri_monai.losses.soft_targets import SoftTargets, kd_loss
from kdmri_monai.losses.terms import DistillationInputs, DistillationTerm, WeightedTerm

__all__ = [
    "Constant",
    "CosineRamp",
    "DistillationInputs",
    "DistillationTerm",
    "FusedFeatures",
    "LinearRamp",
    "Schedule",
    "SoftTargets",
    "WeightedTerm",
    "hcl_loss",
    "kd_loss",
]
