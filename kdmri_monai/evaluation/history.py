"""What a run wrote after every epoch, as columns."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FILE = "metrics.jsonl"
METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "mcc", "macro_auroc", "nll", "brier", "ece")
"""What stands beside the loss terms in a line and is none."""

PARTS = ("training", "validation", "weighted", "gradient_norms")
"""Mappings of a line: terms and metrics of both splits, terms times their weights, norms of their gradients."""

Column = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class History:
    """Numbers of one run over its epochs.

    Attributes:
        epochs: Epochs, ascending, shape ``(E,)``.
        columns: Shape ``(E,)`` each, named by one of ``PARTS``, ``training/task``; NaN where an epoch has no such
            number.
        n: Slices of every split, where the run wrote them.
    """

    epochs: NDArray[np.int64]
    columns: dict[str, Column]
    n: dict[str, int]

    def column(self, split: str, *names: str) -> Column:
        """The first of these names that the split, or another of ``PARTS``, has; NaN throughout where it has none."""
        found = (self.columns.get(f"{split}/{name}") for name in names)
        return next((column for column in found if column is not None), np.full(len(self.epochs), np.nan))

    def terms(self) -> tuple[str, ...]:
        """Names of the loss terms of the training, ``loss`` (the weighted total) first, in the order written."""
        names = [name.partition("/")[2] for name in self.columns if name.startswith("training/")]
        return tuple(sorted((name for name in names if name not in METRICS), key=lambda name: name != "loss"))

    def best(self) -> int | None:
        """Position of the epoch whose weights are kept, as the bundle chooses it; ``None`` without validation.

        It is that of the highest validation balanced accuracy, of equals the one with the lowest validation loss, of
        equals the first.
        """
        score, loss = (self.column("validation", name) for name in ("balanced_accuracy", "loss"))
        validated = np.flatnonzero(~np.isnan(score)).tolist()
        if not validated:
            return None
        return int(min(validated, key=lambda at: (-score[at], math.inf if math.isnan(loss[at]) else loss[at])))


def read_history(folder: Path) -> History:
    """Reads ``metrics.jsonl`` of a run folder.

    Args:
        folder: Run folder. An epoch that stands twice, as after a resumed run, counts as last written.

    Returns:
        The columns.

    Raises:
        ValueError: A line is not of the form that the training writes, or there is none; it names file and line.
        OSError: The file cannot be read.
    """
    path = Path(folder) / FILE
    rows: dict[int, dict[str, Any]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        row = _parse(line, f"{path}: line {number}")
        rows[row["epoch"]] = row
    if not rows:
        raise ValueError(f"{path}: no epoch was written")
    ordered = [rows[epoch] for epoch in sorted(rows)]
    flat = [_flat(row) for row in ordered]
    names = dict.fromkeys(name for row in flat for name in row)
    columns = {name: np.array([row.get(name, math.nan) for row in flat]) for name in names}
    return History(np.array(sorted(rows), dtype=np.int64), columns, dict(ordered[-1].get("n") or {}))


def _parse(line: str, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{place}: is not JSON: {error}") from None
    if not isinstance(row, dict) or not isinstance(row.get("epoch"), int):
        raise ValueError(f"{place}: has no whole number under 'epoch'")
    for split in PARTS:
        values = row.get(split, {})
        if not isinstance(values, Mapping) or not all(_is_number(value) for value in values.values()):
            raise ValueError(f"{place}: '{split}' is not a mapping of names to numbers")
    return row


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _flat(row: Mapping[str, Any]) -> dict[str, float]:
    return {
        f"{part}/{name}": math.nan if value is None else float(value)
        for part in PARTS
        for name, value in row.get(part, {}).items()
    }
