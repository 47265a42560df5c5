"""``kdmri``: data, runs and networks on the command line. Training is ``python -m monai.bundle run``."""

from kdmri_monai.cli import audit, compare, datasets, estimate, examine, networks, pack, predict, report, runs, study
from kdmri_monai.cli.application import app

__all__ = [
    "app",
    "audit",
    "compare",
    "datasets",
    "estimate",
    "examine",
    "networks",
    "pack",
    "predict",
    "report",
    "runs",
    "study",
]
