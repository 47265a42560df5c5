"""Whether arms can be set against each other: complete, over the same folds, and of one way to split."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any

from kdmri_monai.evaluation.arms import Arm, some
from kdmri_monai.evaluation.errors import ComparisonError
from kdmri_monai.evaluation.run_folder import RunFolder

FIELDS = {
    "folds": "number of folds",
    "seed": "seed of the split",
    "validation_fraction": "share for validation",
    "folds_file": "file of published folds",
}
"""Fields of a datalist that all folds of one scheme have in common."""


def check_design(arms: Sequence[Arm]) -> int | None:
    """Refuses arms with runs too few or too many, and runs whose data were split in different ways.

    Every arm has one run for each of its seeds in each fold, and all arms have the same folds. The group rule, the
    number of slices, and, within a fold, the checksum of the datalist must be one; so must the number of folds, the
    seed of the split, the share for validation and the published folds, as far as the datalists are still where the
    runs have found them. A run that recorded none of this is taken as one of the only fold there is.

    Args:
        arms: Arms to be compared.

    Returns:
        Number of folds of the scheme; ``None`` where no datalist tells.

    Raises:
        ComparisonError: As above; the message names the runs.
    """
    folds = {run.fold for arm in arms for run in arm.runs}
    if len(folds - {None}) > 1 and None in folds:
        unknown = [str(run.path) for arm in arms for run in arm.runs if run.fold is None]
        raise ComparisonError(f"runs of several folds, and {some(unknown)} has no data.fold in run.json")
    for arm in arms:
        _check_complete(arm)
    if len(folds - {None}) > 1:
        _check_same_folds(arms)
    return _check_one_scheme([run for arm in arms for run in arm.runs])


def _check_complete(arm: Arm) -> None:
    if len(arm.runs) == 1:
        return
    for run in arm.runs:
        if run.seed is None:
            raise ComparisonError(f"{run.path}: one of several runs of {arm.name}, and run.json has no settings.seed")
    places = Counter((run.seed, run.fold) for run in arm.runs)
    for (seed, fold), count in places.items():
        if count > 1:
            twice = [str(run.path) for run in arm.runs if (run.seed, run.fold) == (seed, fold)]
            raise ComparisonError(
                f"{arm.name} has {_words(seed, fold)} {count} times: {some(twice)}; give each once, or compare by run"
            )
    lacking = [_words(seed, fold) for seed in arm.seeds for fold in arm.folds if (seed, fold) not in places]
    if lacking:
        raise ComparisonError(f"{arm.name} lacks a run of {'; of '.join(lacking)}: every seed needs every fold")


def _words(seed: int | None, fold: int | None) -> str:
    return f"seed {seed}" + (f", fold {fold}" if fold is not None else "")


def _check_same_folds(arms: Sequence[Arm]) -> None:
    everywhere = sorted({fold for arm in arms for fold in arm.folds if fold is not None})
    faults = []
    for arm in arms:
        lacking = [str(fold) for fold in everywhere if fold not in arm.folds]
        if lacking:
            faults.append(f"{arm.name} ({some([run.name for run in arm.runs])}) lacks fold {', '.join(lacking)}")
    if faults:
        have = ", ".join(map(str, everywhere))
        raise ComparisonError(f"arms are compared over the same folds, here {have}: {'; '.join(faults)}")


def _check_one_scheme(runs: Sequence[RunFolder]) -> int | None:
    _check_one("group rule", ((run, run.data.get("group_rule")) for run in runs))
    _check_one("number of slices", ((run, _slices(run)) for run in runs))
    for fold in {run.fold for run in runs}:
        same = [run for run in runs if run.fold == fold]
        _check_one("checksum of the datalist", ((run, run.data.get("sha256")) for run in same))
    read: dict[Hashable, dict[str, Any]] = {}
    heads = [(run, _head(run, read)) for run in runs]
    for field, words in FIELDS.items():
        _check_one(words, ((run, head.get(field)) for run, head in heads))
    return next((head["folds"] for _, head in heads if isinstance(head.get("folds"), int)), None)


def _slices(run: RunFolder) -> int | None:
    slices = run.data.get("slices")
    return sum(slices.values()) if isinstance(slices, dict) else None


def _head(run: RunFolder, read: dict[Hashable, dict[str, Any]]) -> dict[str, Any]:
    """Fields of the datalist that a run was trained with; none where it is gone or another one by now."""
    name, sha256 = run.data.get("datalist"), run.data.get("sha256")
    if not name or not Path(name).is_file():
        return {}
    if (name, sha256) not in read:
        content = Path(name).read_bytes()
        same = hashlib.sha256(content).hexdigest() == sha256
        datalist = json.loads(content) if same else {}
        read[name, sha256] = {field: datalist.get(field) for field in FIELDS}
    return read[name, sha256]


def _check_one(what: str, values: Iterable[tuple[RunFolder, Any]]) -> None:
    """Refuses runs that tell different things; a run that tells nothing is passed over."""
    runs: dict[str, list[str]] = defaultdict(list)
    for run, value in values:
        if value is not None:
            runs[json.dumps(value, sort_keys=True).strip('"')].append(str(run.path))
    if len(runs) > 1:
        told = "; ".join(f"{value[:12]} in {some(names)}" for value, names in runs.items())
        raise ComparisonError(f"the runs were split in different ways, {what}: {told}")
