"""Distillation terms: pure functions on tensors, the modules that learn with them, schedules and their weighted sum."""

from kdmri_monai.losses.attention import AttentionTransfer, at_loss
from kdmri_monai.losses.catalogue import Terms
from kdmri_monai.losses.contrastive import ContrastiveFeatures, infonce_loss
from kdmri_monai.losses.decoupled import DecoupledTargets, dkd_loss
from kdmri_monai.losses.dist import DistTargets, dist_loss
from kdmri_monai.losses.energy_geometry import EnergyGeometry, energy_geometry_loss
from kdmri_monai.losses.features import FusedFeatures, hcl_loss
from kdmri_monai.losses.geometry_targets import GeometryTargets, geometry_loss
from kdmri_monai.losses.hints import Hints, fitnet_loss
from kdmri_monai.losses.normalized import NormalizedTargets, nkd_loss
from kdmri_monai.losses.one_for_all import OneForAll, ofa_loss
from kdmri_monai.losses.orthogonal import OrthogonalProjection, vkd_loss
from kdmri_monai.losses.procrustes import ProcrustesAlignment, procrustes_loss
from kdmri_monai.losses.pseudo_subclasses import PseudoSubclasses, lelp_loss
from kdmri_monai.losses.redundancy import FixedMixing, RedundancySuppression, rsd_loss
from kdmri_monai.losses.relational import RelationalGeometry, angle_loss, distance_loss, rkd_loss
from kdmri_monai.losses.rings import TumourRings, ring_cosine_loss, ring_relation_loss
from kdmri_monai.losses.schedules import Constant, CosineRamp, LinearRamp, Schedule, make_schedule
from kdmri_monai.losses.soft_targets import SoftTargets, kd_loss
from kdmri_monai.losses.standardized import StandardizedTargets, ls_loss
from kdmri_monai.losses.terms import DistillationInputs, DistillationTerm
from kdmri_monai.losses.token_gram import TokenGram, token_gram_loss
from kdmri_monai.losses.weighting import WeightedTerm

__all__ = [
    "AttentionTransfer",
    "Constant",
    "ContrastiveFeatures",
    "CosineRamp",
    "DecoupledTargets",
    "DistTargets",
    "DistillationInputs",
    "DistillationTerm",
    "EnergyGeometry",
    "FixedMixing",
    "FusedFeatures",
    "GeometryTargets",
    "Hints",
    "LinearRamp",
    "NormalizedTargets",
    "OneForAll",
    "OrthogonalProjection",
    "ProcrustesAlignment",
    "PseudoSubclasses",
    "RedundancySuppression",
    "RelationalGeometry",
    "Schedule",
    "SoftTargets",
    "StandardizedTargets",
    "Terms",
    "TokenGram",
    "TumourRings",
    "WeightedTerm",
    "angle_loss",
    "at_loss",
    "dist_loss",
    "distance_loss",
    "dkd_loss",
    "energy_geometry_loss",
    "fitnet_loss",
    "geometry_loss",
    "hcl_loss",
    "infonce_loss",
    "kd_loss",
    "lelp_loss",
    "ls_loss",
    "make_schedule",
    "nkd_loss",
    "ofa_loss",
    "procrustes_loss",
    "ring_cosine_loss",
    "ring_relation_loss",
    "rkd_loss",
    "rsd_loss",
    "token_gram_loss",
    "vkd_loss",
]
