"""How far a run has come, told by its folder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from kdmri_monai.evaluation.arms import IGNORED
from kdmri_monai.evaluation.evidence_file import evidence_path
from kdmri_monai.study.config import StudyError
from kdmri_monai.study.plan import Job

UNTOLD = (IGNORED - {"seed"}) | {"pictures_every", "resident_bytes", "memory_format", "compile", "compile_teacher"}
"""Ids that do not decide what is learned."""


class Stage(str, Enum):
    """What is left to do."""

    new = "new"
    interrupted = "interrupted"
    trained = "trained"
    evaluated = "evaluated"
    finished = "finished"


@dataclass(frozen=True)
class State:
    """A stage, and the epochs that are done."""

    stage: Stage
    epochs: int


def state_of(job: Job) -> State:
    """What the folder of a job holds.

    Raises:
        StudyError: It holds a run of another configuration or other data; the message names what differs.
    """
    if not (job.folder / "run.json").is_file():
        return State(Stage.new, 0)
    refuse_other_run(job)
    done = epochs_done(job.folder)
    if done < (job.epochs or _max_epochs(job)):
        return State(Stage.interrupted, done)
    if not (job.folder / "test_metrics.json").is_file():
        return State(Stage.trained, done)
    if job.examine and not evidence_path(job.folder, "test").is_file():
        return State(Stage.evaluated, done)
    return State(Stage.finished, done)


def epochs_done(folder: Path) -> int:
    """Epochs whose numbers are written; 0 where there are none."""
    file = folder / "metrics.jsonl"
    if not file.is_file():
        return 0
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    try:
        return int(json.loads(lines[-1])["epoch"]) if lines else 0
    except (ValueError, KeyError):
        return len(lines) - 1  # it was stopped while it wrote its last line


def refuse_other_run(job: Job) -> None:
    """Refuses a folder whose run was not started as this job would be.

    Raises:
        StudyError: The configuration, an override or the datalist differs.
    """
    from monai.bundle import ConfigParser

    from kdmri_monai.engines.run_config import run_overrides
    from kdmri_monai.evaluation.subject import file_digest

    record = json.loads((job.folder / "run.json").read_text(encoding="utf-8"))
    config = job.folder / "config.json"
    before = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    now = json.loads(json.dumps(ConfigParser.load_config_files([str(path) for path in job.files])))
    other = [f"{name} of the configuration" for name in _differing(before, now)]
    given = run_overrides(record["command"])
    other += [f"{name} was {given.get(name)!r}" for name in _differing(given, run_overrides(job.command("training")))]
    if record.get("data", {}).get("sha256") != file_digest(Path(job.settings["datalist"])):
        other.append("the datalist")
    if other:
        raise StudyError(
            f"{job.folder} holds a run that differs from what the study asks for: {'; '.join(other[:5])}. Move it "
            "away, or give the study another folder"
        )


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    names = sorted(before.keys() | now.keys())
    return [name for name in names if name not in UNTOLD and before.get(name) != now.get(name)]


def _max_epochs(job: Job) -> int:
    from kdmri_monai.engines.run_config import run_config

    value = run_config(job.folder)["max_epochs"]
    if not isinstance(value, int):
        raise StudyError(f"{job.folder}: max_epochs is {value!r}, the study must set a number")
    return value
