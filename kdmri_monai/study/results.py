"""The results of a study, from the files of its runs alone: metrics of every arm, the goals, a table to read."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from kdmri_monai.evaluation.arms import Arm
from kdmri_monai.evaluation.metrics_file import evaluate_predictions
from kdmri_monai.evaluation.run_folder import RunFolder
from kdmri_monai.report.cards.result_facts import percent
from kdmri_monai.study.config import StudyError
from kdmri_monai.study.plan import TEACHERS

RECORD, COMPARISON = "study.json", "comparison.json"
Metrics = Mapping[str, Any]


@dataclass(frozen=True)
class ArmResult:
    """What one arm has reached, over the folds.

    Attributes:
        name: As the study calls it.
        arm: Its finished runs.
        pooled: ``evaluate_predictions`` of the table of each seed over all folds.
        teacher: Whether it is a teacher.
    """

    name: str
    arm: Arm
    pooled: Sequence[Metrics]
    teacher: bool


def read_results(out: Path, replicates: int = 2000) -> list[ArmResult]:
    """Metrics of every arm of a study that is complete over the folds, teachers last.

    Args:
        out: Folder of the study.
        replicates: Of the bootstrap.

    Raises:
        FileNotFoundError: No study was run there.
        StudyError: No arm is complete.
    """
    record = read_record(out)
    done = {name for name, run in record["runs"].items() if not run["failure"] and run["stage"] == "finished"}
    found: dict[tuple[bool, str], list[str]] = {}
    for name in record["runs"]:
        parts = name.split("/")
        found.setdefault((TEACHERS in parts, parts[-1].rpartition("_")[0]), []).append(name)
    results = []
    for (teacher, name), runs in sorted(found.items(), key=lambda item: item[0][0]):
        if done.issuperset(runs):
            arm = Arm(name, tuple(RunFolder(out / run) for run in runs))
            pooled = [evaluate_predictions(table, replicates=replicates) for table in arm.tables("test")]
            results.append(ArmResult(name, arm, pooled, teacher))
    if not results:
        raise StudyError(f"{out}: no arm of the study is complete")
    return results


def read_record(out: Path) -> dict[str, Any]:
    """``study.json``, which ``kdmri study`` leaves.

    Raises:
        FileNotFoundError: There is none.
    """
    path = out / RECORD
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}: run the study first")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def goal_rows(result: ArmResult) -> dict[str, str]:
    """What the goals are about, in words: per cent, with intervals where there is one seed."""
    evidence = [run.evidence() or {} for run in result.arm.runs]
    slices = [one["slices"] for one in result.pooled]
    numeric = [one["strata"].get("glioma_recall_by_id", {}).get("numeric") for one in slices]
    return {
        "balanced accuracy, slices": _mean([one["balanced_accuracy"] for one in slices]),
        "balanced accuracy, patients": _mean([one["patients"]["balanced_accuracy"] for one in result.pooled]),
        "meningioma recall, slices": _mean([one["per_class"]["meningioma"]["sensitivity"] for one in slices]),
        "recall of gliomas with numeric ids": _mean(numeric) if all(numeric) else "-",
        "calibration error": _mean([one["ece"] for one in slices]),
        "Grad-CAM energy over chance": _over_chance(evidence),
        "tumour inpainted: balanced accuracy": _inpainted(evidence),
    }


def _mean(numbers: Sequence[Metrics]) -> str:
    """One number with its interval; of several the mean and each."""
    if len(numbers) == 1:
        return percent(numbers[0])
    each = [100 * float(one["value"]) for one in numbers]
    return f"{fmean(each):.1f} ({' / '.join(f'{one:.1f}' for one in each)})"


def _over_chance(evidence: Sequence[Mapping[str, Any]]) -> str:
    """Mean over the runs of Grad-CAM energy in the tumour over the share of the image that it covers."""
    ratios = []
    for one in evidence:
        methods = one.get("localisation", {}).get("methods", ())
        ratios += [m["energy"]["value"] / m["area"]["value"] for m in methods if m["method"] == "grad_cam"]
    return f"{fmean(ratios):.1f}" if len(ratios) == len(evidence) else "-"


def _inpainted(evidence: Sequence[Mapping[str, Any]]) -> str:
    values = [
        row["value"]
        for one in evidence
        for row in one.get("network_controls", {}).get("rows", ())
        if row["name"] == "erased_inpainted" and row["value"] is not None and not math.isnan(row["value"])
    ]
    return f"{100 * fmean(values):.1f}" if len(values) == len(evidence) else "-"


def markdown(results: Sequence[ArmResult], record: Mapping[str, Any], comparison: Mapping[str, Any]) -> str:
    """The page of a study: how it was run, every arm beside the reference, the goals, what is missing.

    Args:
        results: From ``read_results``.
        record: From ``read_record``.
        comparison: Content of ``comparison.json``.
    """
    study = record["study"]
    slices, patients = (results[0].pooled[0][kind] for kind in ("slices", "patients"))
    lines = [
        f"# Study `{study['name']}`",
        "",
        f"Folds {_listed(record['folds'])}, seeds {_listed(record['seeds'])}; every patient family is tested in one "
        f"fold: {slices['n']} slices of {patients['n']} patients, {slices['families']} families. Per cent, 95 % "
        "intervals over families; p by permutation of families, in brackets adjusted by Holm.",
        "",
        "| arm | balanced accuracy, slices | minus reference | p | balanced accuracy, patients | minus reference | p |",
        "|---|---|---|---|---|---|---|",
        *(_comparison_line(row) for row in comparison["rows"]),
        "",
        "| | " + " | ".join(result.name + (" (teacher)" if result.teacher else "") for result in results) + " |",
        "|---" * (len(results) + 1) + "|",
    ]
    columns = [goal_rows(result) for result in results]
    lines += [f"| {name} | " + " | ".join(column[name] for column in columns) + " |" for name in columns[0]]
    failed = {name: run["failure"] for name, run in record["runs"].items() if run["failure"]}
    lines += ["", "## Not finished", "", *(f"- `{name}`: {why}" for name, why in failed.items())] if failed else []
    return "\n".join(lines) + "\n"


def _comparison_line(row: Mapping[str, Any]) -> str:
    seeds = row["seeds"]
    cells = [row["name"].removesuffix(f"_{seeds[0]}") if len(seeds) == 1 else row["name"]]
    for kind in ("slices", "patients"):
        level = row[kind]
        difference = (level.get("differences") or {}).get("balanced_accuracy")
        cells.append(percent(level["metrics"]["balanced_accuracy"]))
        if difference is None:
            cells += ["", ""]
            continue
        cells += [percent(difference, signed=True), f"{level['p']:.3f} ({level['p_holm']:.3f})"]
    return "| " + " | ".join(cells) + " |"


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))
