"""What a study left behind: which arms are complete, whose runs they are, and what is not finished."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdmri_monai.data.json_object import read_json_object
from kdmri_monai.study.config import StudyError
from kdmri_monai.study.plan import TEACHERS

RECORD = "study.json"


@dataclass(frozen=True)
class StudyRecord:
    """``study.json`` of a folder of runs, as ``kdmri study`` writes it at its end.

    Attributes:
        home: The folder.
        study: The configuration.
        arms: Arms of the last call, in the order of the configuration.
        folds: Its folds.
        seeds: Its seeds.
        runs: ``stage``, ``epochs`` and ``failure`` by name of the run, ``fold0/kd_1``.
    """

    home: Path
    study: Mapping[str, Any]
    arms: tuple[str, ...]
    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    runs: Mapping[str, Mapping[str, Any]]

    @property
    def reference(self) -> str:
        """The arm that differences refer to: that of the study, and the first complete one where it is not complete."""
        wanted, complete = str(self.study["reference"]), self.complete
        return wanted if wanted in complete or not complete else next(iter(complete))

    @property
    def complete(self) -> dict[str, tuple[Path, ...]]:
        """Run folders, seed by seed and fold by fold, of every arm all of whose runs are finished."""
        return self._finished({arm: [_run(arm, seed, fold) for seed, fold in self._places()] for arm in self.arms})

    @property
    def teachers(self) -> dict[str, tuple[Path, ...]]:
        """The same of the teachers, one run a fold; the members of a cross-fitted one are named otherwise and left out.

        Each of those knows other patients, and all have the same patients to test.
        """
        seed, names = self.seeds[0], self.study.get("teachers", {})
        return self._finished({name: [f"fold{fold}/{TEACHERS}/{name}_{seed}" for fold in self.folds] for name in names})

    @property
    def unfinished(self) -> list[dict[str, Any]]:
        """``name``, ``stage``, ``epochs`` and ``failure`` of every run that is asked for and not finished.

        Paths in a failure begin at the folder of the study.
        """
        asked = [_run(arm, seed, fold) for arm in self.arms for seed, fold in self._places()]
        names = dict.fromkeys([*self.runs, *asked])
        unknown = {"stage": "new", "epochs": 0, "failure": "it is not recorded"}
        found = [{"name": name, **self.runs.get(name, unknown)} for name in names if not self._is_done(name)]
        return [run | {"failure": run["failure"].replace(f"{self.home.resolve()}/", "")} for run in found]

    def _places(self) -> list[tuple[int, int]]:
        return [(seed, fold) for seed in self.seeds for fold in self.folds]

    def _is_done(self, name: str) -> bool:
        run = self.runs.get(name, {})
        return run.get("stage") == "finished" and not run.get("failure")

    def _finished(self, runs: Mapping[str, list[str]]) -> dict[str, tuple[Path, ...]]:
        return {
            arm: tuple(self.home / name for name in names)
            for arm, names in runs.items()
            if all(map(self._is_done, names))
        }


def read_record(home: Path) -> StudyRecord:
    """Reads ``study.json``.

    Args:
        home: Folder of the runs.

    Raises:
        FileNotFoundError: There is none.
        StudyError: It lacks a field, or one is of another form; the message names it.
    """
    path = Path(home) / RECORD
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}: kdmri study writes it when it ends")
    content = read_json_object(path)
    kinds = {"study": dict, "arms": list, "folds": list, "seeds": list, "runs": dict}
    for name, kind in kinds.items():
        if not isinstance(content.get(name), kind) or not content[name]:
            raise StudyError(f"{path}: {name} is {content.get(name)!r}, expected a {kind.__name__} that is not empty")
    if "reference" not in content["study"]:
        raise StudyError(f"{path}: study.reference is missing")
    arms, folds, seeds = (tuple(content[name]) for name in ("arms", "folds", "seeds"))
    return StudyRecord(Path(home), content["study"], arms, folds, seeds, content["runs"])


def _run(arm: str, seed: int, fold: int) -> str:
    return f"fold{fold}/{arm}_{seed}"
