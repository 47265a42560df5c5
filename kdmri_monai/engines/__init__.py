"""Distillation on MONAI's and Ignite's engines."""

from kdmri_monai.engines.augmentation import batch_augmentation
from kdmri_monai.engines.averaging import StudentAverage
from kdmri_monai.engines.batch_statistics import synchronise_batch_norm
from kdmri_monai.engines.batches import AugmentedBatch
from kdmri_monai.engines.calibration import fit_temperature
from kdmri_monai.engines.checkpoints import RunCheckpoints
from kdmri_monai.engines.class_check import check_run_classes
from kdmri_monai.engines.class_weights import class_weights
from kdmri_monai.engines.crossfit import CrossFittedTeacher, load_crossfitted
from kdmri_monai.engines.curves import CurveWriter
from kdmri_monai.engines.distiller import Distiller, TermValues
from kdmri_monai.engines.erasing import TumourErasing
from kdmri_monai.engines.explain import explain_failures
from kdmri_monai.engines.fine_tuning import FrozenBody, fine_tuning_groups
from kdmri_monai.engines.fitting import FitTerms
from kdmri_monai.engines.gradients import TermGradients
from kdmri_monai.engines.guards import EpochSeed, NonFiniteLossError, StopOnNonFiniteLoss
from kdmri_monai.engines.metrics import MeanTerms
from kdmri_monai.engines.mixing import MixUp
from kdmri_monai.engines.pretrained import pretrained_facts, start_from
from kdmri_monai.engines.process_share import ProcessShare, share_of_batch
from kdmri_monai.engines.processes import (
    OtherProcessError,
    is_first_process,
    join_processes,
    leave_processes,
    process_device,
)
from kdmri_monai.engines.progress import TermBar
from kdmri_monai.engines.recorded_size import recorded_image_size
from kdmri_monai.engines.replay import ReplayedAugmentation
from kdmri_monai.engines.resident import ResidentDataset, whole_batch
from kdmri_monai.engines.run_record import start_run
from kdmri_monai.engines.samplers import BalancedSampler, balanced_sampler
from kdmri_monai.engines.source_augmentation import RandomNoiseFloor, RandomRicianNoise
from kdmri_monai.engines.switches import switched_on
from kdmri_monai.engines.teacher import load_teacher
from kdmri_monai.engines.teacher_cache import CachedTeacher
from kdmri_monai.engines.teacher_reading import TeacherReader
from kdmri_monai.engines.trainer import DistillationEvents, DistillationTrainer
from kdmri_monai.engines.validation_terms import ValidationTerms

__all__ = [
    "AugmentedBatch",
    "BalancedSampler",
    "CachedTeacher",
    "CrossFittedTeacher",
    "CurveWriter",
    "DistillationEvents",
    "DistillationTrainer",
    "Distiller",
    "EpochSeed",
    "FitTerms",
    "FrozenBody",
    "MeanTerms",
    "MixUp",
    "NonFiniteLossError",
    "OtherProcessError",
    "ProcessShare",
    "RandomNoiseFloor",
    "RandomRicianNoise",
    "ReplayedAugmentation",
    "ResidentDataset",
    "RunCheckpoints",
    "StopOnNonFiniteLoss",
    "StudentAverage",
    "TeacherReader",
    "TermBar",
    "TermGradients",
    "TermValues",
    "TumourErasing",
    "ValidationTerms",
    "balanced_sampler",
    "batch_augmentation",
    "check_run_classes",
    "class_weights",
    "explain_failures",
    "fine_tuning_groups",
    "fit_temperature",
    "is_first_process",
    "join_processes",
    "leave_processes",
    "load_crossfitted",
    "load_teacher",
    "pretrained_facts",
    "process_device",
    "recorded_image_size",
    "share_of_batch",
    "start_from",
    "start_run",
    "switched_on",
    "synchronise_batch_norm",
    "whole_batch",
]
