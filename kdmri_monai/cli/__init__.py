"""``kdmri``: data, runs and networks on the command line. Training is ``python -m monai.bundle run``."""

from kdmri_monai.cli import compare, datasets, examine, networks, report, runs
from kdmri_monai.cli.application import app

__all__ = ["app", "compare", "datasets", "examine", "networks", "report", "runs"]
