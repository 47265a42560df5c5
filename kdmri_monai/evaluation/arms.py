"""Arms of a study: runs that differ by seed and fold alone, and the tables that they give together.

An arm pools the predictions of its folds into one table a seed, since every patient is tested in one fold; what is
reported is the mean over the seeds (``intervals.seed_averaged``).
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from kdmri_monai.evaluation.errors import ComparisonError
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.run_folder import RunFolder

PATHS = ("bundle_root", "dataset_dir", "output_dir", "datalist", "teacher_ckpt", "teacher_ckpts", "teacher_cache")
IGNORED = {*PATHS, "seed", "fold", "device", "num_workers", "progress", "resume", "overwrite"}
"""Ids of a configuration that say where, on what and from which seed a run was made, not how."""

SEPARATORS = re.compile(r"[_.\- ]+")
LABELLED = re.compile(r"(?:(?:seed|fold)\d*)?", re.IGNORECASE)
NUMBERED = re.compile(r"(?:seed|fold)?\d*", re.IGNORECASE)


@dataclass(frozen=True)
class Arm:
    """Runs of one way to train.

    Attributes:
        name: Name that tells it from the other arms.
        runs: Its runs, by seed and then by fold.
    """

    name: str
    runs: tuple[RunFolder, ...]

    @property
    def seeds(self) -> tuple[int | None, ...]:
        """Seeds of the training, ascending, each once."""
        return tuple(dict.fromkeys(run.seed for run in self.runs))

    @property
    def folds(self) -> tuple[int | None, ...]:
        """Folds, ascending, each once."""
        return tuple(sorted({run.fold for run in self.runs}, key=_number))

    def tables(self, split: str) -> tuple[Predictions, ...]:
        """One table a seed, over the slices of all folds.

        Args:
            split: Split that was predicted.

        Raises:
            ComparisonError: A run was not evaluated, or two folds have predicted the same patients.
            PredictionError: A table that cannot be trusted.
        """
        return tuple(_pooled([run for run in self.runs if run.seed == seed], split) for seed in self.seeds)


def arms_of(runs: Sequence[RunFolder]) -> tuple[Arm, ...]:
    """Puts runs of the same resolved configuration together, in the order of their first run.

    What a configuration says of seed, fold, paths, device, workers and progress does not count, nor does the path of a
    teacher; the configuration of the teacher's own run does, where the path lies in a run folder, and else the path
    without numbers of seeds and folds. A run without ``config.json`` is an arm of its own, or belongs to those that
    have the same ``name`` in their ``run.json``.

    Args:
        runs: Runs, none twice.

    Raises:
        ValueError: A configuration cannot be read.
    """
    found: dict[tuple[str, str], list[RunFolder]] = {}
    for run in runs:
        found.setdefault(_key(run), []).append(run)
    names = _unique_names(list(found.values()))
    return tuple(
        Arm(name, tuple(sorted(members, key=lambda run: (_number(run.seed), _number(run.fold)))))
        for name, members in zip(names, found.values(), strict=True)
    )


def _number(value: int | None) -> int:
    return -1 if value is None else value


def _pooled(runs: Sequence[RunFolder], split: str) -> Predictions:
    tables = [run.predictions(split) for run in runs]
    first: dict[str, RunFolder] = {}
    for run, table in zip(runs, tables, strict=True):
        twice = sorted(set(table.patient.tolist()) & first.keys())
        if twice:
            raise ComparisonError(
                f"{first[twice[0]].path} and {run.path} have both predicted {some(twice)}: folds share no patients"
            )
        if table.classes != tables[0].classes:
            raise ComparisonError(f"{runs[0].path} and {run.path} have other classes")
        first |= dict.fromkeys(table.patient.tolist(), run)
    columns = ("id", "patient", "family", "label", "probabilities")
    together: dict[str, Any] = {name: np.concatenate([getattr(table, name) for table in tables]) for name in columns}
    return replace(tables[0], **together)


def some(names: Sequence[str], most: int = 5) -> str:
    """Up to ``most`` names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} others" if len(names) > most else "")


def _key(run: RunFolder) -> tuple[str, str]:
    if run.config is not None:
        return "configuration", configuration(run)
    return ("name", run.name) if run.record.get("name") else ("folder", str(run.path.resolve()))


def configuration(run: RunFolder, above: tuple[Path, ...] = ()) -> str:
    """What the configuration of a run says of how it was trained, as one text; equal for the runs of an arm.

    Args:
        run: Run with ``config.json``.
        above: Folders of the runs that it is the teacher of.
    """
    path = run.path.resolve()
    ckpt = run.settings.get("teacher_ckpt")
    teachers = [ckpt] if isinstance(ckpt, str) else ckpt or []
    known = [_teacher(Path(str(teacher)), (*above, path)) for teacher in teachers]
    return json.dumps([_kept(run.config), known], sort_keys=True)


def _teacher(checkpoint: Path, above: tuple[Path, ...]) -> str:
    folder = checkpoint.parent
    if folder.is_dir() and folder.resolve() not in above:
        run = RunFolder(folder)
        if run.config is not None:
            return configuration(run, above)
    return "/".join(_stem([part]) or "" for part in checkpoint.parts)


def _kept(value: Any) -> Any:
    if isinstance(value, Mapping):
        kept = {name: _kept(item) for name, item in value.items() if name not in IGNORED}
        return {name: item is not None if name.endswith("_seed") else item for name, item in kept.items()}
    return [_kept(item) for item in value] if isinstance(value, list) else value


def _unique_names(arms: Sequence[Sequence[RunFolder]]) -> list[str]:
    names = [_arm_name(runs) for runs in arms]
    longer = [f"{runs[0].path.resolve().parent.name}/{name}" for name, runs in zip(names, arms, strict=True)]
    names = _where_repeated(names, longer)
    full = [f"{name} ({', '.join(run.name for run in runs)})" for name, runs in zip(names, arms, strict=True)]
    names = _where_repeated(names, full)
    return _where_repeated(names, [str(runs[0].path) for runs in arms])


def _where_repeated(names: Sequence[str], instead: Sequence[str]) -> list[str]:
    count = Counter(names)
    return [other if count[name] > 1 else name for name, other in zip(names, instead, strict=True)]


def _arm_name(runs: Sequence[RunFolder]) -> str:
    own = {run.name for run in runs}
    if len(own) == 1:
        only = own.pop()
        return only if len(runs) == 1 or _stem([only]) else (_stem([runs[0].path.resolve().parent.name]) or only)
    paths = [run.path.resolve().parts[:-1] for run in runs]
    levels = [sorted(own), *zip(*(reversed(parts) for parts in paths), strict=False)]
    return next((stem for stem in map(_stem, levels) if stem), runs[0].name)


def _stem(names: Sequence[str]) -> str:
    """What names have in common before, or else behind, their numbers: ``kd`` of ``kd_0`` and ``kd_1``."""
    parts = [SEPARATORS.split(name) for name in names]
    dropped = NUMBERED if len(set(names)) == 1 else LABELLED  # a number that several names share is no seed of theirs
    for side in (parts, [part[::-1] for part in parts]):
        common = [words[0] for words in takewhile(lambda words: len(set(words)) == 1, zip(*side, strict=False))]
        while common and dropped.fullmatch(common[-1]):
            common.pop()
        if common:
            return "_".join(common if side is parts else common[::-1])
    return ""
