"""How soon a run is as good as another one ever gets.

An epoch's balanced accuracy on some forty validation patients is noisy, and the best epoch is the highest of many noisy
numbers; so is the first epoch that passes it. Compare several seeds, and runs that were validated equally often.
"""

from pathlib import Path

import numpy as np

from kdmri_monai.evaluation.history import History, read_history

METRIC = "balanced_accuracy"


def epochs_to_reach(history: History, target: float, metric: str = METRIC) -> int | None:
    """The first epoch after which a validation metric is at least ``target``.

    Args:
        history: Numbers of a run, from ``read_history``. Epochs without the metric (a validation interval above 1, a
            value that is not defined) are passed over.
        target: Value to be reached.
        metric: One of the validation metrics of which more is better.

    Returns:
        The number of epochs that the run was trained until then; ``None`` where it never gets there.

    Raises:
        ValueError: No epoch has the metric.
    """
    column = history.column("validation", metric)
    if np.isnan(column).all():
        raise ValueError(f"no epoch has a validation {metric}")
    reached = np.flatnonzero(column >= target)  # NaN is not
    return int(history.epochs[reached[0]]) if reached.size else None


def epochs_to_baselines_best(run: Path, baseline: Path, metric: str = METRIC) -> int | None:
    """The first epoch after which a run is as good on the validation slices as the baseline's best epoch.

    ``epochs_to_baselines_best(baseline, baseline)`` is the baseline's best epoch itself, the number to compare to.

    Args:
        run: Run folder with ``metrics.jsonl``.
        baseline: Run folder of the baseline, over the same validation slices.
        metric: As for ``epochs_to_reach``.

    Returns:
        Number of epochs; ``None`` where the run never gets there.

    Raises:
        ValueError: The runs were validated on different numbers of slices; a file is not of the form that the training
            writes, or has no such metric.
        OSError: A file cannot be read.
    """
    ours, theirs = read_history(run), read_history(baseline)
    sizes = [history.n.get("validation") for history in (ours, theirs)]
    if None not in sizes and sizes[0] != sizes[1]:
        raise ValueError(
            f"{run} was validated on {sizes[0]} slices and {baseline} on {sizes[1]}: they cannot be compared"
        )
    for folder, history in ((run, ours), (baseline, theirs)):
        if np.isnan(history.column("validation", metric)).all():
            raise ValueError(f"{folder}: no epoch has a validation {metric}")
    return epochs_to_reach(ours, float(np.nanmax(theirs.column("validation", metric))), metric)
