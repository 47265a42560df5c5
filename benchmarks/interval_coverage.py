#!/usr/bin/env python3
"""How often the intervals of the evaluation hold the truth, on simulated tables of clustered slices.

    python benchmarks/interval_coverage.py [--tables 1000] [--replicates 400] [--seed 0] [--slices]

A family has a probability of being right that is drawn from a beta distribution, with the mean of its class; the
variance of that distribution is the correlation of its slices. Families have 13 slices on average: 5 to 21, or 1 plus a
negative binomial number with a standard deviation of 9, as uneven as in the Figshare set. Wrong decisions are spread
evenly over the other two classes. A second network finds 3 points more of every class but the last, of which both find
the same share; it finds the same families hard, and it errs in the same slices, but for three in ten. The truth of
every metric is that of the expected confusion matrix.

Prints the share of the tables whose 95 % interval holds the truth, per cent, as a table and as JSON. Its Monte-Carlo
error is the standard error of that share: .7 points for 1,000 tables at 95 %. With --slices every slice counts as a
family of its own, which is what an interval that ignores clusters does.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from scipy.special import betaincinv

from kdmri_monai.data.taxonomy import CLASSES
from kdmri_monai.evaluation.intervals import bootstrap, paired_bootstrap
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.resampling import Resampling
from kdmri_monai.evaluation.statistic import decision_values

LEVEL = 0.95
GAIN = (0.03, 0.03, 0.0)
SHOWN = (
    "balanced_accuracy", "accuracy", "macro_f1", "mcc", "sensitivity/meningioma", "sensitivity/glioma",
    "sensitivity/pituitary tumour", "precision/glioma",
)  # fmt: skip
PAIRED = ("balanced_accuracy", "sensitivity/meningioma", "sensitivity/pituitary tumour")


@dataclass(frozen=True)
class Setting:
    """What is simulated.

    Attributes:
        families: Number of families of each class.
        found: Share of each class that is found.
        correlation: Of two slices of a family being right, 0..1.
        uneven: Whether the number of slices varies as in the Figshare set.
    """

    families: tuple[int, int, int]
    found: tuple[float, float, float]
    correlation: float
    uneven: bool

    @property
    def title(self) -> str:
        sizes = "uneven" if self.uneven else "even"
        return f"{min(self.families)}-{max(self.families)} families a class, correlation {self.correlation}, {sizes}"


SETTINGS = tuple(
    Setting(families, found, correlation, uneven)
    for uneven, families, (found, correlation) in product(
        (False, True),
        ((60, 70, 60), (30, 35, 30), (12, 15, 12)),
        (((0.8, 0.85, 0.9), 0.2), ((0.85, 0.93, 0.95), 0.29)),
    )
)


def two_networks(setting: Setting, seed: int) -> tuple[Predictions, Predictions]:
    """Tables of a network and of the better one, over the same slices."""
    random = np.random.default_rng(seed)
    label_of = np.repeat(np.arange(3), setting.families)
    count = len(label_of)
    sizes = 1 + random.negative_binomial(2, 1 / 7, count) if setting.uneven else random.integers(5, 22, count)
    family = np.repeat(np.arange(count), sizes)
    label, names = label_of[family], np.char.mod("%04d", family)
    ease, luck, other = random.random(count), random.random(len(family)), random.random(len(family))
    error = (label + random.integers(1, 3, len(family))) % 3
    new_luck = np.where(random.random(len(family)) < 0.7, luck, other)
    tables = []
    for gain, chance in ((np.zeros(3), luck), (np.asarray(GAIN), new_luck)):
        mean, both = (np.asarray(setting.found) + gain)[label_of], 1 / setting.correlation - 1
        right = chance < betaincinv(mean * both, (1 - mean) * both, ease)[family]
        probabilities = 0.1 + 0.7 * np.eye(3)[np.where(right, label, error)]
        tables.append(Predictions(np.arange(len(family)).astype(str), names, names, label, probabilities))
    return tables[0], tables[1]


def truths(setting: Setting) -> dict[str, float]:
    """Value of every metric, and of the differences of ``PAIRED``."""
    values = []
    for gain in (np.zeros(3), np.asarray(GAIN)):
        found = np.asarray(setting.found) + gain
        confusion = np.diag(found) + (1 - np.eye(3)) * (1 - found)[:, None] / 2
        values.append(decision_values((np.asarray(setting.families)[:, None] * confusion)[None], CLASSES))
    own = {name: float(value[0]) for name, value in values[0].items()}
    return own | {f"difference of {name}": float(values[1][name][0] - values[0][name][0]) for name in PAIRED}


def intervals(setting: Setting, seed: int, replicates: int, clustered: bool) -> Iterator[tuple[str, float, float]]:
    """Name and bounds of every interval of one simulated table."""
    tables = two_networks(setting, seed)
    if not clustered:
        tables = tuple(replace(table, family=table.id, patient=table.id) for table in tables)
    resampling = Resampling(replicates, LEVEL, seed)
    own, difference = bootstrap(tables[0], resampling=resampling), paired_bootstrap(*tables[::-1], resampling)
    yield from ((name, own[name].low, own[name].high) for name in SHOWN)
    yield from ((f"difference of {name}", difference[name].low, difference[name].high) for name in PAIRED)


def coverage(
    setting: Setting, tables: int, replicates: int, seed: int = 0, clustered: bool = True
) -> dict[str, dict[str, float]]:
    """Share of the tables whose interval holds the truth, its Monte-Carlo error and the mean width, by metric."""
    truth = truths(setting)
    held: dict[str, list[bool]] = {}
    width: dict[str, list[float]] = {}
    for number in range(tables):
        for name, low, high in intervals(setting, seed + number, replicates, clustered):
            held.setdefault(name, []).append(low <= truth[name] <= high)
            width.setdefault(name, []).append(high - low)
    shares = {name: float(np.mean(values)) for name, values in held.items()}
    return {
        name: {"coverage": share, "error": float(np.sqrt(share * (1 - share) / tables)),
               "width": float(np.mean(width[name]))}
        for name, share in shares.items()
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=1000)
    parser.add_argument("--replicates", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slices", action="store_true", help="ignore that slices belong to families")
    arguments = parser.parse_args()
    began, rows = time.process_time(), {}
    for setting in SETTINGS:
        rows[setting.title] = row = coverage(
            setting, arguments.tables, arguments.replicates, arguments.seed, not arguments.slices
        )
        print(setting.title)
        for name, value in row.items():
            print(f"    {name:45} {100 * value['coverage']:5.1f} +- {100 * value['error']:.1f}", flush=True)
    result = {
        "level": LEVEL,
        "coverage": rows,
        "tables": arguments.tables,
        "replicates": arguments.replicates,
        "seed": arguments.seed,
        "clustered": not arguments.slices,
        "seconds": round(time.process_time() - began, 1),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
