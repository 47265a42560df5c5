"""A comparison as a CSV file, one row a run or an arm, and as JSON with everything that is known of it."""

import csv
import math
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kdmri_monai.data.atomic import replacing
from kdmri_monai.data.download import file_digests
from kdmri_monai.evaluation.comparison_rows import METRIC, Comparison, Level, Row
from kdmri_monai.evaluation.intervals import Interval
from kdmri_monai.evaluation.metrics_file import METHOD, write_metrics
from kdmri_monai.evaluation.run_folder import CHECKPOINT, CONFIG, RECORD, RunFolder

FORMAT = "kdmri-comparison-1"
IN_CSV = ("accuracy", "balanced_accuracy", "macro_f1", "mcc")
LEVELS = ("slices", "patients")
TEST = "paired permutation over patient families, two-sided; Holm over the rows compared to the reference, by level"


def comparison_tree(comparison: Comparison) -> dict[str, Any]:
    """A comparison as plain values.

    Args:
        comparison: Rows whose run folders are still there.

    Returns:
        ``format``, ``split``, ``by``, ``reference``, ``metric`` (of the difference that is tested), ``interval``
        (method, level, replicates, seed), ``test`` (how p was found), ``fold_count`` and ``rows``. A row has ``name``,
        ``given``, ``leaky``, ``unsure``, ``seeds``, ``folds``, ``runs`` (name, folder, seed, fold, revision, SHA-256 by
        file) and, under ``slices`` and ``patients``, ``n``, ``families``, ``metrics`` and ``differences`` by name as
        ``{"value", "low", "high"}``, ``p``, ``p_holm``, ``includes_zero`` and ``seeds``, the metrics of each seed.

    Raises:
        OSError: A file of a run cannot be read.
    """
    resampling = comparison.resampling
    draws = {"replicates": resampling.replicates, "seed": resampling.seed}
    return {
        "format": FORMAT,
        "split": comparison.split,
        "by": comparison.by,
        "reference": comparison.reference,
        "metric": METRIC,
        "interval": {"method": METHOD, "level": resampling.level, **draws},
        "test": {"method": TEST, **draws},
        "fold_count": comparison.fold_count,
        "rows": [_row(row, comparison.split) for row in comparison.rows],
    }


def write_comparison_json(comparison: Comparison, path: Path) -> None:
    """Writes what ``comparison_tree`` gives, NaN as null, with the version of the package.

    Args:
        comparison: Rows whose run folders are still there.
        path: File to be written or replaced.

    Raises:
        OSError: The file cannot be written; an older one is then as it was.
    """
    write_metrics(comparison_tree(comparison), path, {"kdmri-monai": version("kdmri-monai")})


def write_comparison_csv(comparison: Comparison, path: Path) -> None:
    """Writes one line a row: shares 0..1 with bounds by slice and by patient, difference, p and the value of each seed.

    Lists are joined by blanks; a number that is not defined, as the difference of the reference, is an empty cell.

    Args:
        comparison: Rows to be written.
        path: File to be written or replaced.

    Raises:
        OSError: The file cannot be written; an older one is then as it was.
    """
    lines = [_cells(row, comparison) for row in comparison.rows]
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def includes_zero(difference: Interval) -> bool:
    """Whether a difference may be none: its interval includes zero, or is not defined."""
    return not (difference.low > 0 or difference.high < 0)


def _row(row: Row, split: str) -> dict[str, Any]:
    levels = {name: _level(getattr(row, name), row.seeds) for name in LEVELS}
    named = {name: getattr(row, name) for name in ("name", "given", "leaky", "unsure")}
    runs = [_run(RunFolder(folder), split) for folder in row.folders]
    return {**named, "seeds": list(row.seeds), "folds": list(row.folds), "runs": runs, **levels}


def _run(run: RunFolder, split: str) -> dict[str, Any]:
    files = [run.predictions_path(split), *(run.path / name for name in (RECORD, CONFIG, CHECKPOINT))]
    return {
        "name": run.name,
        "folder": str(run.path),
        "seed": run.seed,
        "fold": run.fold,
        "revision": run.record.get("git_revision"),
        "sha256": {file.name: file_digests(file)["sha256"] for file in files if file.is_file()},
    }


def _level(level: Level, seeds: tuple[int | None, ...]) -> dict[str, Any]:
    differences = level.differences
    return {
        "n": level.n,
        "families": level.families,
        "metrics": {name: _bounds(interval) for name, interval in level.metrics.items()},
        "differences": None if differences is None else {name: _bounds(one) for name, one in differences.items()},
        "p": level.p,
        "p_holm": level.p_holm,
        "includes_zero": None if level.difference is None else includes_zero(level.difference),
        "seeds": [{"seed": seed, **values} for seed, values in zip(seeds, level.by_seed, strict=True)],
    }


def _bounds(interval: Interval) -> dict[str, float]:
    return {"value": interval.estimate, "low": interval.low, "high": interval.high}


def _cells(row: Row, comparison: Comparison) -> dict[str, Any]:
    cells = {
        "name": row.name,
        "reference": comparison.reference,
        "runs": len(row.folders),
        "seeds": _joined(row.seeds),
        "folds": _joined(row.folds),
        "given": row.given,
        "leaky": row.leaky,
    }
    for name in LEVELS:
        level: Level = getattr(row, name)
        cells |= {f"{name}_n": level.n, f"{name}_families": level.families}
        for metric in IN_CSV:
            cells |= _bounded(f"{name}_{metric}", level.metrics[metric])
        cells |= _bounded(f"{name}_difference", level.difference)
        cells |= {f"{name}_p": _defined(level.p), f"{name}_p_holm": _defined(level.p_holm)}
        cells[f"{name}_{METRIC}_of_seeds"] = _joined(values[METRIC] for values in level.by_seed)
    return cells


def _bounded(name: str, interval: Interval | None) -> dict[str, Any]:
    values = (math.nan,) * 3 if interval is None else (interval.estimate, interval.low, interval.high)
    return {name + bound: _defined(value) for bound, value in zip(("", "_low", "_high"), values, strict=True)}


def _defined(value: float) -> float | str:
    return "" if math.isnan(value) else value


def _joined(values: Any) -> str:
    return " ".join("" if value is None else str(value) for value in values).strip()
