"""Distillation on MONAI's and Ignite's engines."""

from kdmri_monai.engines.batches import AugmentedBatch
from kdmri_monai.engines.checkpoints import RunCheckpoints
from kdmri_monai.engines.curves import CurveWriter
from kdmri_monai.engines.distiller import Distiller
from kdmri_monai.engines.explain import explain_failures
from kdmri_monai.engines.guards import EpochSeed, NonFiniteLossError, StopOnNonFiniteLoss
from kdmri_monai.engines.metrics import MeanTerms
from kdmri_monai.engines.progress import TermBar
from kdmri_monai.engines.run_record import start_run
from kdmri_monai.engines.switches import switched_on
from kdmri_monai.engines.teacher import load_teacher
from kdmri_monai.engines.trainer import DistillationEvents, DistillationTrainer
from kdmri_monai.engines.validation_terms import ValidationTerms

__all__ = [
    "AugmentedBatch",
    "CurveWriter",
    "DistillationEvents",
    "DistillationTrainer",
    "Distiller",
    "EpochSeed",
    "MeanTerms",
    "NonFiniteLossError",
    "RunCheckpoints",
    "StopOnNonFiniteLoss",
    "TermBar",
    "ValidationTerms",
    "explain_failures",
    "load_teacher",
    "start_run",
    "switched_on",
]
