"""The overlays for several GPUs, by two processes on the CPU: as one process, and when something is refused."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import run

from kdmri_monai.engines import join_processes

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "bundles" / "kd" / "configs"
SMALL = {"image_size": 48, "batch_size": 8, "device": "cpu", "progress": False, "replay_seed": 0, "val_interval": 1}
NARROW = {"teacher_def#backbone#embed_dim": 12, "teacher_def#num_features": 192}
NO_BATCH_STATISTICS = {"student_def#norm": ["group", {"num_groups": 3}], "terms#1#arguments": {
    "fusion": ["abf", {"norm": ["group", {"num_groups": 3}], "width": 48}]}}  # fmt: skip
REPLAYED = {"+train#handlers": [{"_target_": "@augmentation", "_mode_": "callable"}]}

pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning")


def files(*names):
    return [str(CONFIGS / f"{name}.json") for name in names]


def bundle_run(runs):
    """Several commands one after the other in one process; of each the error that it ended with, or None."""
    os.chdir(ROOT)
    from kdmri_monai.engines.explain import first_cause

    ends = []
    for run_id, names, given in runs:
        try:
            run(run_id=run_id, config_file=names, **SMALL | given)
            ends.append(None)
        except Exception as error:  # noqa: BLE001  # the test looks at it
            cause = first_cause(error)
            ends.append(f"{type(cause).__name__}: {cause}")
    return ends
