"""One row of the table of shortcut controls, each beside its chance level, and the rule by which a shortcut is caught.

A control shows something that should not tell the class. Its shortcut is caught where the lower bound of its balanced
accuracy lies above the upper end of what the same decisions reach with labels permuted over families. Both bounds are
of 95 %, so that a control without shortcut is rarely caught (about 3 in 1,000 for two ranges of equal width).
"""

from dataclasses import asdict, dataclass
from math import nan
from typing import Any, Literal

import numpy as np

from kdmri_monai.evaluation.intervals import Interval, bootstrap
from kdmri_monai.evaluation.permutation import label_permutation
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.resampling import Resampling

Group = Literal["network", "features", "labels"]
Metric = Literal["balanced_accuracy", "recall", "auroc"]


@dataclass(frozen=True)
class ControlRow:
    """One control.

    Attributes:
        name: Name for programs, ``erased_mean``.
        title: Name for people.
        group: What is controlled: the ``network``, its data by hand-made ``features``, or the ``labels``.
        value: The metric, 0..1; NaN where it is not defined.
        low: Lower bound of its interval, NaN where there is none.
        high: Upper bound.
        metric: What the value is.
        chance: Its value for answers that have nothing to do with the truth.
        null_low: Lower end of the range that chance gives, found by permuting over families; NaN where not found.
        null_high: Upper end of that range.
        caught: Whether a shortcut is caught; ``None`` for a row that says nothing by itself.
        n: Number of slices.
        families: Number of patient families.
        explains: What the row means, in a sentence or two.
    """

    name: str
    title: str
    group: Group
    value: float
    low: float
    high: float
    metric: Metric
    chance: float
    null_low: float
    null_high: float
    caught: bool | None
    n: int
    families: int
    explains: str

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, as they stand in a JSON file."""
        return asdict(self)


def decision_row(
    table: Predictions, name: str, title: str, group: Group, explains: str, resampling: Resampling, judged: bool
) -> ControlRow:
    """Balanced accuracy of a table of answers beside that for labels permuted over families.

    Args:
        table: Answers, one row a slice.
        name: As in ``ControlRow``, like ``title``, ``group`` and ``explains``.
        title: See there.
        group: See there.
        explains: See there.
        resampling: Number of replicates and of permutations, level and seed.
        judged: Whether the row can catch a shortcut; if not, ``caught`` is ``None``.
    """
    interval = bootstrap(table, resampling=resampling)["balanced_accuracy"]
    null = label_permutation(table, "balanced_accuracy", resampling)
    return ControlRow(
        name=name,
        title=title,
        group=group,
        value=interval.estimate,
        low=interval.low,
        high=interval.high,
        metric="balanced_accuracy",
        chance=1 / len(np.unique(table.label)),
        null_low=null.low,
        null_high=null.high,
        caught=is_caught(interval, null.high) if judged else None,
        n=len(table),
        families=interval.groups,
        explains=explains,
    )


def is_caught(interval: Interval, null_high: float) -> bool | None:
    """Whether an interval lies above the range of chance; ``None`` where one of the two is not defined."""
    if np.isnan([interval.low, null_high]).any():
        return None
    return bool(interval.low > null_high)


def undefined_row(
    name: str, title: str, group: Group, metric: Metric, chance: float, reason: str, n: int = 0, families: int = 0
) -> ControlRow:
    """A row without numbers, whose ``explains`` says why there are none."""
    return ControlRow(name, title, group, nan, nan, nan, metric, chance, nan, nan, None, n, families, reason)
