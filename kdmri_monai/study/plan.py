"""From a study to the runs that it is made of, in the order in which they can be started."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdmri_monai.study.config import Recipe, Study

TEACHERS = "teachers"


@dataclass(frozen=True)
class Job:
    """One network to train, evaluate and perhaps examine.

    Attributes:
        name: Folder below that of the study, ``fold0/kd_1``.
        folder: The run folder.
        files: Configuration files, the first one ``train.json``.
        settings: Values by id, everything that is overridden.
        needs: Names of jobs whose checkpoint it reads.
        arm: Name of its arm; ``None`` for a teacher.
        examine: Whether it is examined after its evaluation.
    """

    name: str
    folder: Path
    files: tuple[Path, ...]
    settings: Mapping[str, Any]
    needs: tuple[str, ...] = ()
    arm: str | None = None
    examine: bool = False

    @property
    def epochs(self) -> int | None:
        """``max_epochs``, where the study sets it."""
        value = self.settings.get("max_epochs")
        return int(value) if value is not None else None

    def command(self, run_id: str, *more: Path) -> list[str]:
        """Words that start ``training`` or, with its overlay, ``evaluating``."""
        files = repr([str(path) for path in (*self.files, *more)])
        words = [sys.executable, "-m", "monai.bundle", "run", run_id, "--config_file", files]
        return [*words, *(part for name, value in self.settings.items() for part in (f"--{name}", _word(value)))]


def plan(
    study: Study, configs: Path, datalists: Mapping[int, Path], parts: Mapping[int, Sequence[Path]], out: Path
) -> list[Job]:
    """Every run of a study, teachers of a fold before its students, fold by fold.

    Args:
        study: The study.
        configs: Folder of the bundle's configurations.
        datalists: ``datalist.json`` by fold.
        parts: Datalists of the members of cross-fitted teachers by fold; empty where there are none.
        out: Folder of the study.
    """
    wanted = {arm.teacher for arm in study.arms.values()} - {None}
    jobs: list[Job] = []
    for fold in study.folds:
        for name, teacher in study.teachers.items():
            if name in wanted:
                jobs += _teachers(study, teacher, configs, datalists[fold], parts.get(fold, ()), out / f"fold{fold}")
        for seed in study.seeds:
            for arm in study.arms.values():
                needs = tuple(job.name for job in jobs if job.arm is None and _is_of(job, fold, arm.teacher))
                jobs.append(_student(study, arm, seed, configs, datalists[fold], needs, out, fold))
    return jobs


def _is_of(job: Job, fold: int, teacher: str | None) -> bool:
    return (
        teacher is not None
        and job.folder.parent.parent.name == f"fold{fold}"
        and job.folder.name.rpartition("_")[0] == teacher
    )


def _teachers(
    study: Study, teacher: Recipe, configs: Path, datalist: Path, parts: Sequence[Path], home: Path
) -> Iterator[Job]:
    lists = list(parts[: teacher.crossfit]) if teacher.crossfit else [datalist]
    for number, path in enumerate(lists):
        suffix = f"without-{number}" if teacher.crossfit else str(study.seeds[0])
        folder = home / TEACHERS / f"{teacher.name}_{suffix}"
        settings = _settings(study, teacher, study.seeds[0], path, folder)
        files = _files(configs, (*teacher.overlays, "teacher"))
        yield Job(f"{home.name}/{TEACHERS}/{folder.name}", folder, files, settings)


def _student(
    study: Study, arm: Recipe, seed: int, configs: Path, datalist: Path, needs: tuple[str, ...], out: Path, fold: int
) -> Job:
    folder = out / f"fold{fold}" / f"{arm.name}_{seed}"
    settings = _settings(study, arm, seed, datalist, folder)
    checkpoints = [str(out / name / "model.pt") for name in needs]
    if arm.teacher is not None:
        crossfit = study.teachers[arm.teacher].crossfit
        settings |= {"teacher_ckpts": checkpoints} if crossfit else {"teacher_ckpt": checkpoints[0]}
    name = f"fold{fold}/{folder.name}"
    return Job(name, folder, _files(configs, arm.overlays), settings, needs, arm.name, study.examine)


def _settings(study: Study, recipe: Recipe, seed: int, datalist: Path, folder: Path) -> dict[str, Any]:
    own = {"dataset_dir": str(datalist.parent), "datalist": str(datalist), "output_dir": str(folder), "seed": seed}
    quiet = {"progress": False, "pictures_every": 0}
    return {**quiet, **study.settings, **recipe.settings, **own}


def _files(configs: Path, overlays: Sequence[str]) -> tuple[Path, ...]:
    return tuple(configs / f"{name}.json" for name in ("train", *overlays))


def _word(value: Any) -> str:
    """As Fire reads it back: ``None`` would be dropped by MONAI."""
    if value is None:
        return "$None"
    return value if isinstance(value, str) else json.dumps(value) if not isinstance(value, bool) else str(value)
