"""Averages over seeds of the arms of ``geometry_study.py``, with paired intervals over patient families."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from kdmri_monai.evaluation.convergence import epochs_to_baselines_best
from kdmri_monai.evaluation.evidence_file import evidence_path, read_evidence
from kdmri_monai.evaluation.history import read_history
from kdmri_monai.evaluation.intervals import Interval, seed_averaged
from kdmri_monai.evaluation.predictions import by_patient
from kdmri_monai.evaluation.predictions_file import read_predictions

PARTS = ("network_controls", "localisation", "predicted_mask")
"""Parts of the examination that the summary reads."""

METRICS = ("accuracy", "balanced_accuracy", "sensitivity/meningioma", "sensitivity/glioma")


def summarise(runs: Path, arms: list[str], seeds: list[int]) -> str:
    """Write ``summary.json`` and give it as a table in text."""
    folders = {arm: [runs / f"{arm}_{seed}" for seed in seeds] for arm in arms}
    result: dict[str, Any] = {"seeds": seeds, "teacher": _metrics([runs / "teacher"], []), "arms": {}}
    for arm, mine in folders.items():
        others = folders["baseline"] if arm != "baseline" and "baseline" in folders else []
        result["arms"][arm] = {
            **_metrics(mine, others),
            "epochs_to_baselines_best": _epochs(mine, folders.get("baseline", [])),
            "training_minus_validation_accuracy": _mean([_gap(folder) for folder in mine]),
            "evidence": _evidence(mine),
        }
    (runs / "summary.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return _table(result)


def _metrics(folders: list[Path], references: list[Path]) -> dict[str, Any]:
    tables, others = ([read_predictions(f / "test_predictions.csv") for f in group] for group in (folders, references))
    found: dict[str, Any] = {}
    for level, convert in (("slices", lambda table: table), ("patients", by_patient)):
        mine, theirs = [convert(table) for table in tables], [convert(table) for table in others]
        averaged = seed_averaged(mine)
        found[level] = {"n": len(mine[0]), **{name: _bounds(averaged[name]) for name in METRICS}}
        single = [seed_averaged([table])["balanced_accuracy"].estimate for table in mine]
        found[level]["balanced_accuracy_of_seeds"] = single
        if theirs:
            found[level]["difference"] = _bounds(seed_averaged(mine, theirs)["balanced_accuracy"])
    return found


def _epochs(folders: list[Path], baselines: list[Path]) -> list[int | None]:
    return [epochs_to_baselines_best(mine, other) for mine, other in zip(folders, baselines, strict=True)]


def _gap(folder: Path) -> float:
    history = read_history(folder)
    return float(history.column("training", "accuracy")[-1] - history.column("validation", "accuracy")[-1])


def _evidence(folders: list[Path]) -> dict[str, float]:
    found = [read_evidence(evidence_path(folder, "test")) for folder in folders]
    controls = [{row["name"]: float(row["value"]) for row in _controls(one)} for one in found]
    values = {name: [one[name] for one in controls] for name in controls[0]}
    cams = [one["localisation"]["methods"][0] for one in found]
    values |= {f"cam_{name}": [cam[name]["value"] for cam in cams] for name in ("energy", "energy_over_area")}
    if not any("skipped" in one["predicted_mask"] for one in found):
        values |= {
            f"mask_{name}": [one["predicted_mask"][name]["value"] for one in found] for name in ("dice", "peak_inside")
        }
    return {name: _mean(column) for name, column in values.items()}


def _controls(sections: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = sections["network_controls"]["rows"]
    return [row for row in rows if row["group"] == "network"]


def _mean(values: list[float]) -> float:
    return float(np.mean(values))


def _bounds(interval: Interval) -> dict[str, float]:
    return {"value": interval.estimate, "low": interval.low, "high": interval.high}


def _table(result: dict[str, Any]) -> str:
    lines = ["arm | balanced, slices | difference | balanced, patients | difference | epochs | inpainted | Grad-CAM"]
    for arm, row in {"teacher": result["teacher"], **result["arms"]}.items():
        cells = [arm]
        for level in ("slices", "patients"):
            cells += [_percent(row[level]["balanced_accuracy"]), _percent(row[level].get("difference"))]
        if "evidence" in row:
            evidence = row["evidence"]
            epochs = [str(epoch) if epoch is not None else "never" for epoch in row["epochs_to_baselines_best"]]
            cells += ["/".join(epochs), f"{100 * evidence['erased_inpaint']:.1f}"]
            cells.append(f"{evidence['cam_energy_over_area']:.2f}")
        lines.append(" | ".join(cells))
    return "\n".join(lines)


def _percent(bounds: dict[str, float] | None) -> str:
    if bounds is None:
        return "-"
    return f"{100 * bounds['value']:.1f} ({100 * bounds['low']:.1f} to {100 * bounds['high']:.1f})"
