"""From the runs of a study to the few files that its results are made of."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kdmri_monai.evaluation.arms import Arm, arms_of
from kdmri_monai.evaluation.comparison import compare_runs
from kdmri_monai.evaluation.comparison_files import comparison_tree, write_comparison_csv
from kdmri_monai.evaluation.comparison_rows import METRIC, Comparison, Row
from kdmri_monai.evaluation.convergence import epochs_to_baselines_best
from kdmri_monai.evaluation.metrics_file import write_metrics
from kdmri_monai.evaluation.resampling import Resampling
from kdmri_monai.evaluation.run_folder import RunFolder
from kdmri_monai.study.results_mistakes import mistakes_of
from kdmri_monai.study.results_numbers import arm_numbers
from kdmri_monai.study.results_record import StudyRecord, read_record

FORMAT = "kdmri-study-1"
RESULTS, COMPARISON, TABLE, CURVES = "results.json", "comparison.json", "comparison.csv", "curves.json"
PARTS = ("training", "validation")
COLUMNS = ("loss", "task", "accuracy", "balanced_accuracy")
"""Columns of a history that are kept, of both parts."""

DIGITS = 5
"""Significant digits of a curve."""


def collect_results(runs: Path, out: Path, resampling: Resampling | None = None) -> list[Path]:
    """Writes ``results.json``, ``comparison.json``, ``comparison.csv`` and ``curves.json``; no path leads elsewhere.

    Args:
        runs: Folder of a study with its ``study.json``.
        out: Folder of the results, made where it is missing.
        resampling: How intervals and p-values are found; 2,000 replicates, 95 %, seed 0 by default.

    Returns:
        The files. Without a complete arm there is no comparison.

    Raises:
        FileNotFoundError: There is no ``study.json``.
        StudyError: It is of another form.
        ComparisonError: Runs that are recorded as finished and cannot be compared.
        ValueError: A file of a run is of another form; it is named.
    """
    record, resampling = read_record(runs), resampling or Resampling()
    out.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {
        "format": FORMAT,
        "study": record.study,
        "folds": list(record.folds),
        "seeds": list(record.seeds),
        "reference": record.reference,
        "unfinished": record.unfinished,
        "arms": [],
        "runs": [],
    }
    written = [out / RESULTS]
    if record.complete:
        comparison = compare_arms(record, resampling)
        _write_comparison(comparison, record.home, out)
        results |= {"arms": _arms(record, comparison), "runs": list(_runs(record))}
        written += [out / COMPARISON, out / TABLE, out / CURVES]
    write_metrics(results, out / RESULTS, {"kdmri-monai": version("kdmri-monai")})
    if record.complete:
        write_metrics({"format": FORMAT, "arms": _curves(record)}, out / CURVES)
    return written


def compare_arms(record: StudyRecord, resampling: Resampling | None = None) -> Comparison:
    """The complete arms and teachers of a study, under the names that the study gives them, ``teacher NAME``.

    Args:
        record: A study with a complete arm.
        resampling: As in ``compare_runs``.

    Raises:
        ComparisonError: As ``compare_runs``.
    """
    owners = {_place(folder): arm for arm, folders in record.complete.items() for folder in folders}
    owners |= {_place(folder): f"teacher {name}" for name, folders in record.teachers.items() for folder in folders}
    names = {arm.name: owners[_place(arm.runs[0].path)] for arm in arms_of(list(map(RunFolder, owners)))}
    reference = next(name for name, own in names.items() if own == record.reference)
    found = compare_runs(list(owners), reference=reference, by="arm", resampling=resampling)
    rows = tuple(replace(row, name=names[row.name]) for row in found.rows)
    return replace(found, rows=rows, reference=record.reference)


def _place(folder: Path) -> Path:
    return Path(folder).resolve()


def _write_comparison(comparison: Comparison, home: Path, out: Path) -> None:
    tree = comparison_tree(comparison)
    for row in tree["rows"]:
        for run in row["runs"]:
            run["folder"] = Path(run["folder"]).relative_to(_place(home)).as_posix()
    write_metrics(tree, out / COMPARISON, {"kdmri-monai": version("kdmri-monai")})
    write_comparison_csv(comparison, out / TABLE)


def _arms(record: StudyRecord, comparison: Comparison) -> list[dict[str, Any]]:
    arms = {name: _arm(name, folders) for name, folders in record.complete.items()}
    teachers = {name: _arm(name, folders) for name, folders in record.teachers.items()}
    rows: dict[str, Row] = {row.name: row for row in comparison.rows}
    found = []
    for name, arm in arms.items():
        alone = _alone(name, arms, record.study["arms"])
        teacher = record.study["arms"][name].get("teacher")
        taught_by = teachers[teacher].tables("test")[0] if teacher in teachers else None
        settings = arm.runs[0].settings
        found.append(
            {
                "name": name,
                "teacher": teacher,
                "alone": alone,
                "network": _networks(arm.runs[0]) or settings.get("network"),
                "parameters": settings.get("parameters"),
                "numbers": arm_numbers(arm, rows[name], arms[alone] if alone else None, comparison.resampling),
                "mistakes": mistakes_of(arm.tables("test"), taught_by),
            }
        )
    return found


def _arm(name: str, folders: Sequence[Path]) -> Arm:
    return Arm(name, tuple(map(RunFolder, folders)))


def _alone(name: str, arms: Mapping[str, Arm], recipes: Mapping[str, Any]) -> str | None:
    """The first arm that trains the same student, as far as its record tells, without a teacher."""
    if not recipes[name].get("teacher"):
        return None
    untaught = [other for other in arms if not recipes[other].get("teacher")]
    return next((other for other in untaught if _student(arms[other]) == _student(arms[name])), None)


def _student(arm: Arm) -> tuple[Any, ...]:
    return tuple(arm.runs[0].settings.get(name) for name in ("network", "parameters"))


def _networks(run: RunFolder) -> str:
    """Names of the classes that the student is made of, the outermost first."""
    return " of ".join(_targets((run.config or {}).get("student_def")))


def _targets(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if isinstance(value.get("_target_"), str):
            yield value["_target_"].rpartition(".")[2]
        for item in value.values():
            yield from _targets(item)


def _runs(record: StudyRecord) -> Iterator[dict[str, Any]]:
    references = {_place_in_study(run): run for run in map(RunFolder, record.complete[record.reference])}
    for arm, folders in {
        **record.complete,
        **{f"teacher {name}": own for name, own in record.teachers.items()},
    }.items():
        for folder in folders:
            run = RunFolder(folder)
            metrics, history = run.metrics() or {}, run.history
            best = None if history is None else history.best()
            line: dict[str, Any] = {"name": folder.relative_to(record.home).as_posix(), "arm": arm}
            line |= {"fold": run.fold, "seed": run.seed, "revision": run.record.get("git_revision")}
            line["epochs"] = None if history is None else int(history.epochs[-1])
            line["best_epoch"] = None if history is None or best is None else int(history.epochs[best])
            if arm in record.complete:
                line["epochs_to_reference"] = _convergence(run, references.get(_place_in_study(run)))
            for level in ("slices", "patients"):
                line[level] = metrics.get(level, {}).get(METRIC, {}).get("value")
            yield line


def _place_in_study(run: RunFolder) -> tuple[int | None, int | None]:
    return run.fold, run.seed


def _convergence(run: RunFolder, reference: RunFolder | None) -> int | None:
    """Epochs until a run is as good on the validation slices as the best epoch of the reference; ``None``: never."""
    if reference is None or run.history is None or reference.history is None:
        return None
    return epochs_to_baselines_best(run.path, reference.path)


def _curves(record: StudyRecord) -> dict[str, list[dict[str, Any]]]:
    return {
        arm: [one for folder in folders if (one := _curve(RunFolder(folder))) is not None]
        for arm, folders in record.complete.items()
    }


def _curve(run: RunFolder) -> dict[str, Any] | None:
    history = run.history
    if history is None:
        return None
    kept = {f"{part}/{name}" for part in PARTS for name in COLUMNS} & history.columns.keys()
    columns = {name: [float(f"{x:.{DIGITS}g}") for x in history.columns[name]] for name in sorted(kept)}
    place = {"fold": run.fold, "seed": run.seed, "epochs": history.epochs.tolist()}
    return {**place, "columns": columns, "n": {part: history.n[part] for part in PARTS if part in history.n}}
