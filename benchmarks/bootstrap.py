#!/usr/bin/env python3
"""Time of 2,000 bootstrap replicates of a table as large as the Figshare set: 3,064 slices of 233 patients.

    python benchmarks/bootstrap.py [--replicates 2000] [--slices 3064] [--patients 233] [--rounds 3]

Prints seconds on one core, processor time, the fastest of the rounds: of the metrics of decided classes, of these with
logarithmic score, Brier score and all areas under curves, of the paired difference of two networks, of the difference
of two arms of three seeds, and of the permutation tests of the two networks and of the labels. Drawing the families is
within each.
"""

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"  # read when NumPy is imported

import argparse  # noqa: E402
import json  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402

from kdmri_monai.evaluation.intervals import bootstrap, paired_bootstrap, seed_averaged  # noqa: E402
from kdmri_monai.evaluation.permutation import label_permutation, permutation_p  # noqa: E402
from kdmri_monai.evaluation.predictions import Predictions  # noqa: E402
from kdmri_monai.evaluation.resampling import Resampling  # noqa: E402
from kdmri_monai.evaluation.statistic import every_statistic  # noqa: E402

SHARES = (0.35, 0.38, 0.27)
"""Of the patients, meningioma, glioma and pituitary tumour, about as in the Figshare set."""


def random_table(slices: int, patients: int, seed: int) -> Predictions:
    """Slices of random patients, whose probabilities are right in about nine of ten; patients are the same by seed."""
    random = np.random.default_rng(0)
    label_of = np.searchsorted(np.cumsum(SHARES[:2]), np.arange(patients) / patients, side="right")
    patient = np.sort(np.concatenate((np.arange(patients), random.integers(0, patients, slices - patients))))
    label, names = label_of[patient], np.char.mod("%03d", patient)
    logits = np.random.default_rng(seed).normal(size=(slices, 3)) + 2.5 * np.eye(3)[label]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Predictions(np.arange(slices).astype(str), names, names, label, probabilities)


def seconds(action: Callable[[], Any], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        began = time.process_time()
        action()
        times.append(time.process_time() - began)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=2000)
    parser.add_argument("--slices", type=int, default=3064)
    parser.add_argument("--patients", type=int, default=233)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    tables = [random_table(arguments.slices, arguments.patients, seed) for seed in range(1, 7)]
    new, old = tables[:2]
    resampling = Resampling(arguments.replicates)
    actions = {
        "decisions": lambda: bootstrap(new, resampling=resampling),
        "every metric": lambda: bootstrap(new, every_statistic(new), resampling),
        "paired": lambda: paired_bootstrap(new, old, resampling),
        "two arms of three seeds": lambda: seed_averaged(tables[:3], tables[3:], resampling),
        "paired permutation": lambda: permutation_p(new, old, resampling=resampling),
        "permuted labels": lambda: label_permutation(new, resampling=resampling),
    }
    result = {
        "seconds": {name: round(seconds(action, arguments.rounds), 3) for name, action in actions.items()},
        "replicates": arguments.replicates,
        "slices": arguments.slices,
        "patients": arguments.patients,
        "rounds": arguments.rounds,
        "threads": 1,
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
