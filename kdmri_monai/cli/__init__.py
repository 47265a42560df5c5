"""``kdmri``: data, runs and networks on the command line. Training is ``python -m monai.bundle run``."""

from kdmri_monai.cli import datasets, networks, runs
from kdmri_monai.cli.application import app

__all__ = ["app", "datasets", "networks", "runs"]
