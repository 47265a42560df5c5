"""How far a run's accuracy on the slices that it learned from is ahead of that on validation slices.

Training accuracy is what ``metrics.jsonl`` holds: the share of right decisions over the batches of an epoch, as they
were learned from. Those are augmented (mixed or erased too, where that is switched on; a mixed slice counts as its main
part), dropout is on, batch norm goes by the batch, and the weights move from the first batch to the last. Validation
accuracy is of plain slices in eval mode, with the weights after the epoch, or their running average where one is kept.
All of this favours validation, so the gap is less than that of one network on plain slices of both splits, and can be
below zero. It compares runs with the same augmentation, and no others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np

from kdmri_monai.evaluation.convergence import epochs_to_baselines_best
from kdmri_monai.evaluation.history import History, read_history

METRIC = "accuracy"


@dataclass(frozen=True)
class GeneralisationGap:
    """Accuracies after one epoch, 0..1.

    Attributes:
        epoch: The epoch, from 1.
        training: Accuracy on augmented training slices during it; NaN where none was written.
        validation: Accuracy on validation slices after it.
        gap: Training minus validation.
    """

    epoch: int
    training: float
    validation: float
    gap: float


def chosen_place(history: History) -> int:
    """Position of the epoch whose weights are kept, see ``History.best``.

    Args:
        history: Numbers of a run, from ``read_history``.

    Raises:
        ValueError: No epoch has a validation balanced accuracy.
    """
    best = history.best()
    if best is None:
        raise ValueError("no epoch has a validation balanced_accuracy")
    return best


def gap_at(history: History, place: int) -> GeneralisationGap:
    """The gap after one epoch.

    Args:
        history: Numbers of a run.
        place: Position of the epoch in ``history.epochs``.
    """
    training, validation = (float(history.column(split, METRIC)[place]) for split in ("training", "validation"))
    return GeneralisationGap(int(history.epochs[place]), training, validation, training - validation)


def last_place(history: History) -> int:
    """Position of the last epoch after which there was a validation.

    Raises:
        ValueError: No epoch has a validation accuracy.
    """
    validated = np.flatnonzero(~np.isnan(history.column("validation", METRIC)))
    if not validated.size:
        raise ValueError(f"no epoch has a validation {METRIC}")
    return int(validated[-1])


def generalisation(runs: Sequence[Path], baselines: Sequence[Path] = ()) -> dict[str, Any]:
    """Gaps of the runs of one arm, and how soon they are as good as the baselines ever get.

    Args:
        runs: Run folders with ``metrics.jsonl``, one a seed.
        baselines: Run folders of the baseline over the same validation slices, in any number.

    Returns:
        ``runs``, one each: ``folder``, ``best_epoch``, ``epochs`` and, at the ``chosen`` and the ``last`` epoch,
        ``epoch``, ``training``, ``validation`` and ``gap``; the means over runs under ``mean``, ``chosen`` and ``last``
        alike; with baselines ``epochs_to_baselines_best``: ``epochs``, by run and baseline, ``None`` where it is never
        reached; ``median`` over all pairs, where never is later than any epoch, NaN if the median is never;
        ``reached``, share of pairs; ``baseline_best_epoch``, that of each baseline, the number to compare to.

    Raises:
        ValueError: No runs, a file of another form, one without validation, runs validated on other numbers of slices;
            the run is named.
        OSError: A file cannot be read.
    """
    if not runs:
        raise ValueError("no runs, so there is no gap to find")
    rows = [_row(Path(folder)) for folder in runs]
    mean = {when: {key: float(np.mean([row[when][key] for row in rows])) for key in ("training", "validation", "gap")}
            for when in ("chosen", "last")}  # fmt: skip
    found: dict[str, Any] = {"runs": rows, "mean": mean}
    return found | ({"epochs_to_baselines_best": _convergence(runs, baselines)} if baselines else {})


def _row(folder: Path) -> dict[str, Any]:
    history = read_history(folder)
    try:
        gaps = {"chosen": gap_at(history, chosen_place(history)), "last": gap_at(history, last_place(history))}
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    return {
        "folder": str(folder),
        "best_epoch": gaps["chosen"].epoch,
        "epochs": int(history.epochs[-1]),
        **{when: vars(gap) for when, gap in gaps.items()},
    }


def _convergence(runs: Sequence[Path], baselines: Sequence[Path]) -> dict[str, Any]:
    epochs = [[epochs_to_baselines_best(run, baseline) for baseline in baselines] for run in runs]
    pairs = [inf if epoch is None else epoch for row in epochs for epoch in row]
    median = float(np.median(pairs)) if np.isfinite(pairs).mean() > 0.5 else nan
    return {
        "epochs": epochs,
        "median": median,
        "reached": float(np.isfinite(pairs).mean()),
        "baseline_best_epoch": [epochs_to_baselines_best(baseline, baseline) for baseline in baselines],
    }
