"""The terms by name, as MONAI keeps its layers: ``Terms["token_gram"](grids=(7,))``."""

from monai.networks.layers import LayerFactory

from kdmri_monai.losses.attention import AttentionTransfer
from kdmri_monai.losses.contrastive import ContrastiveFeatures
from kdmri_monai.losses.decoupled import DecoupledTargets
from kdmri_monai.losses.dist import DistTargets
from kdmri_monai.losses.energy_geometry import EnergyGeometry
from kdmri_monai.losses.features import FusedFeatures
from kdmri_monai.losses.geometry_targets import GeometryTargets
from kdmri_monai.losses.hints import Hints
from kdmri_monai.losses.normalized import NormalizedTargets
from kdmri_monai.losses.one_for_all import OneForAll
from kdmri_monai.losses.orthogonal import OrthogonalProjection
from kdmri_monai.losses.procrustes import ProcrustesAlignment
from kdmri_monai.losses.pseudo_subclasses import PseudoSubclasses
from kdmri_monai.losses.redundancy import RedundancySuppression
from kdmri_monai.losses.relational import RelationalGeometry
from kdmri_monai.losses.rings import TumourRings
from kdmri_monai.losses.soft_targets import SoftTargets
from kdmri_monai.losses.standardized import StandardizedTargets
from kdmri_monai.losses.token_gram import TokenGram

Terms = LayerFactory(name="Distillation terms", description="What a student can be taught by, chosen by name.")

for _name, _term, _description in (
    ("kd", SoftTargets, "Softened classes (Hinton 2015)."),
    ("hcl", FusedFeatures, "Fused features of several scales (ReviewKD, CVPR 2021)."),
    ("rsd", RedundancySuppression, "Correlation of pooled features, redundancy suppressed (RSD, ICCV 2025)."),
    ("token_gram", TokenGram, "Similarities of places within an image; needs no projector."),
    ("rings", TumourRings, "Features in rings around the tumour's border (after Cheng 2015)."),
    ("geometry", GeometryTargets, "The tumour's mask, distance and rings as targets of a geometry head."),
    ("energy_geometry", EnergyGeometry, "Orientation and shape index of energy maps."),
    ("vkd", OrthogonalProjection, "Orthogonal projection to normalised features (VkD, CVPR 2024)."),
    ("rkd", RelationalGeometry, "Distances and angles between samples (RKD, CVPR 2019)."),
    ("procrustes", ProcrustesAlignment, "Procrustes distance of pooled features (arXiv 2509.25253)."),
    ("at", AttentionTransfer, "Attention maps (ICLR 2017)."),
    ("fitnet", Hints, "Hints: features, place by place (FitNets, ICLR 2015)."),
    ("infonce", ContrastiveFeatures, "Contrast of the teacher's features of the same and other samples."),
    ("ofa", OneForAll, "Early exits of the student, softened classes (OFA-KD, NeurIPS 2023)."),
    ("lelp", PseudoSubclasses, "Pseudo-subclasses from the teacher's features (LELP 2024)."),
    ("dkd", DecoupledTargets, "Target and other classes apart (DKD, CVPR 2022)."),
    ("dist", DistTargets, "Correlations over classes and samples (DIST, NeurIPS 2022)."),
    ("ls", StandardizedTargets, "Standardised logits (CVPR 2024)."),
    ("nkd", NormalizedTargets, "Normalised classes other than the target (NKD, ICCV 2023)."),
):
    Terms.add_factory_class(_name, _term, _description)
