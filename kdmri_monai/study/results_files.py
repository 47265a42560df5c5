"""Writes the results of a study for a repository or a paper: small files, no folder of the machine in them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdmri_monai.data.atomic import write_atomically
from kdmri_monai.evaluation.metrics_file import write_metrics
from kdmri_monai.report.axes import save
from kdmri_monai.report.figures_curves import arm_columns
from kdmri_monai.report.figures_forest import ForestRow, ForestScale, forest_figure
from kdmri_monai.study.results import COMPARISON, RECORD, ArmResult, goal_rows, markdown, read_record, read_results

PAGE, METRICS, CURVES, DIFFERENCES = "README.md", "metrics.json", "curves", "differences"


def write_results(out: Path, target: Path, replicates: int = 2000) -> list[Path]:
    """Everything that is told of a study, from the files of its runs alone.

    Args:
        out: Folder of the study, compared (``comparison.json``).
        target: Folder for the page, ``study.json``, ``comparison.json``, ``metrics.json`` and the figures; made where
            it is missing, files of these names are replaced.
        replicates: Of the bootstrap.

    Returns:
        The files.

    Raises:
        FileNotFoundError: No study was run and compared there.
        StudyError: No arm is complete.
    """
    record = read_record(out)
    if not (out / COMPARISON).is_file():
        raise FileNotFoundError(f"there is no {out / COMPARISON}: run the study first")
    results = read_results(out, replicates)
    comparison = json.loads((out / COMPARISON).read_text(encoding="utf-8"))
    target.mkdir(parents=True, exist_ok=True)
    write_atomically(target / PAGE, markdown(results, record, comparison).encode())
    write_atomically(target / RECORD, _without(record, out))
    write_atomically(target / COMPARISON, _without(comparison, out))
    write_metrics({result.name: _summary(result) for result in results}, target / METRICS)
    files = [target / name for name in (PAGE, RECORD, COMPARISON, METRICS)]
    return [*files, *_figures(results, comparison, target)]


def _without(tree: Any, out: Path) -> bytes:
    """As JSON, names of run folders counted from that of the study."""
    text = json.dumps(tree, indent=1, ensure_ascii=False)
    return (text.replace(f"{out.resolve()}/", "").replace(f"{out}/", "") + "\n").encode()


def _summary(result: ArmResult) -> dict[str, Any]:
    """What the goals are about, and how every run ended."""
    runs = []
    for run in result.arm.runs:
        best = None if run.history is None else run.history.best()
        epoch = None if run.history is None or best is None else int(run.history.epochs[best])
        metrics = run.metrics() or {}
        value = metrics.get("slices", {}).get("balanced_accuracy", {}).get("value")
        runs.append({"fold": run.fold, "seed": run.seed, "best_epoch": epoch, "slices_balanced_accuracy": value})
    pooled = [{kind: _short(one[kind]) for kind in ("slices", "patients")} for one in result.pooled]
    return {"teacher": result.teacher, "goals": goal_rows(result), "pooled": pooled, "runs": runs}


def _short(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if name not in ("reliability", "risk_coverage")}


def _figures(results: Sequence[ArmResult], comparison: dict[str, Any], target: Path) -> list[Path]:
    histories = {result.name: [run.history for run in result.arm.runs if run.history is not None] for result in results}
    files = save(arm_columns({name: runs for name, runs in histories.items() if runs}), target / CURVES, ["png"])
    rows = [
        ForestRow(f"{row['name']} (n = {row[kind]['n']})", _bounded(row[kind]["differences"]), f"by {kind[:-1]}")
        for kind in ("slices", "patients")
        for row in comparison["rows"]
        if row[kind].get("differences")
    ]
    if rows:
        scale = ForestScale(f"Balanced accuracy minus {comparison['reference']} (points)", signed=True, reference=0.0)
        files += save(forest_figure(rows, scale), target / DIFFERENCES, ["png"])
    return files


def _bounded(differences: dict[str, Any]) -> tuple[float, float, float]:
    one = differences["balanced_accuracy"]
    value, low, high = (float("nan") if one[name] is None else float(one[name]) for name in ("value", "low", "high"))
    return value, low, high
