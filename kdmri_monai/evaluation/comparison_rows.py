"""What a comparison of runs, or of arms of several runs, holds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from kdmri_monai.evaluation.intervals import Interval
from kdmri_monai.evaluation.resampling import Resampling

METRIC = "balanced_accuracy"
"""The metric whose difference is tested."""


@dataclass(frozen=True)
class Level:
    """Metrics of one row by slice, or by patient.

    Attributes:
        n: Number of slices or of patients.
        families: Number of patient families.
        metrics: Interval by name, as ``decision_statistic`` names them: means over the seeds.
        by_seed: The same metrics of each seed alone, in the order of the row's seeds.
        differences: Metrics minus those of the reference, paired; ``None`` for the reference itself.
        p: Of the difference of balanced accuracy, two-sided, by paired permutation; NaN for the reference.
        p_holm: ``p`` adjusted by Holm for the number of rows that are compared to the reference.
    """

    n: int
    families: int
    metrics: Mapping[str, Interval]
    by_seed: tuple[Mapping[str, float], ...]
    differences: Mapping[str, Interval] | None = None
    p: float = math.nan
    p_holm: float = math.nan

    @property
    def accuracy(self) -> Interval:
        """Share of right decisions."""
        return self.metrics["accuracy"]

    @property
    def balanced_accuracy(self) -> Interval:
        """Mean sensitivity."""
        return self.metrics["balanced_accuracy"]

    @property
    def macro_f1(self) -> Interval:
        """Mean F1."""
        return self.metrics["macro_f1"]

    @property
    def difference(self) -> Interval | None:
        """Balanced accuracy minus that of the reference, paired; ``None`` for the reference itself."""
        return None if self.differences is None else self.differences[METRIC]


@dataclass(frozen=True)
class Row:
    """One run, or one arm.

    Attributes:
        name: Name that tells it from the other rows.
        folders: Run folders, by seed and then by fold.
        seeds: Seeds of the training, each once; ``None`` where it was not recorded.
        folds: Folds, each once; ``None`` where it was not recorded.
        slices: Metrics by slice.
        patients: Metrics by patient.
        given: What the network was given beside the image (``the tumour mask: distance``); empty for the image alone.
        leaky: In words, which of the test patients it has learned from, as far as its record tells; else empty.
        unsure: In words, that its teacher may have learned from them; empty where the records of the runs rule it out.
    """

    name: str
    folders: tuple[Path, ...]
    seeds: tuple[int | None, ...]
    folds: tuple[int | None, ...]
    slices: Level
    patients: Level
    given: str = ""
    leaky: str = ""
    unsure: str = ""

    @property
    def folder(self) -> Path:
        """The first of its run folders."""
        return self.folders[0]


@dataclass(frozen=True)
class Comparison:
    """Runs, or arms, over the same slices.

    Attributes:
        split: Split that was compared.
        reference: Name of the row that the differences are to.
        rows: One row a run, or an arm, in the order given.
        by: What a row is.
        resampling: How intervals and p-values were found.
        fold_count: Number of folds that the data were split into, where it is known.
    """

    split: str
    reference: str
    rows: tuple[Row, ...]
    by: Literal["run", "arm"] = "run"
    resampling: Resampling = field(default_factory=Resampling)
    fold_count: int | None = None
