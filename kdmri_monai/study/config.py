"""What a study is, read from a JSON file."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdmri_monai.data.json_object import read_json_object

SCHEDULE = ("max_epochs", "batch_size", "seed", "learning_rate", "weight_decay", "max_grad_norm", "ema_momentum")
VIEWS = ("image_size", "augmentations", "augmentation", "views", "mixing", "preprocessing")
FAIR = frozenset({*SCHEDULE, *VIEWS, "optimizer", "lr_scheduler", "train", "loss"})
"""Ids of the bundle that are the same for every arm: schedule, batches, augmentation, resolution."""

OWN = frozenset(
    {"seed", "output_dir", "dataset_dir", "datalist", "teacher_ckpt", "teacher_ckpts", "resume", "overwrite"}
)
"""Ids that the study sets itself."""


class StudyError(ValueError):
    """A study that cannot be run as it is; the message names file and field."""


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: overlays of the bundle and settings on top of them.

    Attributes:
        name: Name of the arm or of the teacher.
        overlays: Names of files in the bundle's ``configs``, without ``.json``, in order.
        settings: Values by id.
        teacher: Name of the teacher that an arm learns from.
        crossfit: Members of a cross-fitted teacher, each without one part of the training families; 0 for one teacher.
    """

    name: str
    overlays: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    teacher: str | None = None
    crossfit: int = 0


@dataclass(frozen=True)
class Study:
    """Arms times folds times seeds.

    Attributes:
        path: File that it was read from.
        name: What it is called.
        folds: Folds that are held out in turn, from 0.
        seeds: Seeds of the training.
        settings: Values by id for every run.
        teachers: By name. One is trained for each fold, with the first seed.
        arms: By name, in the order of the file.
        reference: The arm that differences refer to.
        examine: Whether finished runs are examined (``kdmri examine``).
    """

    path: Path
    name: str
    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    settings: Mapping[str, Any]
    teachers: Mapping[str, Recipe]
    arms: Mapping[str, Recipe]
    reference: str
    examine: bool


def read_study(path: Path, configs: Path) -> Study:
    """Reads and checks a study.

    Args:
        path: JSON file.
        configs: Folder of the bundle's configurations, where overlays are looked for.

    Raises:
        FileNotFoundError: There is no such file, or no such overlay.
        StudyError: A field is missing, of another form or unknown; arms that are not trained alike; a teacher that is
            not there.
    """
    fields = _Fields(path, read_json_object(path), "")
    study = Study(
        path=path,
        name=fields.take("name", str),
        folds=tuple(fields.numbers("folds")),
        seeds=tuple(fields.numbers("seeds")),
        settings=fields.take("settings", dict, {}),
        teachers=dict(_recipes(fields, "teachers")),
        arms=dict(_recipes(fields, "arms")),
        reference=fields.take("reference", str),
        examine=fields.take("examine", bool, False),
    )
    fields.end()
    _check(study, configs)
    return study


class _Fields:
    """Takes fields of an object one by one, and refuses what is left over."""

    def __init__(self, path: Path, content: Mapping[str, Any], place: str) -> None:
        self.path, self.content, self.place = path, dict(content), place

    def take(self, name: str, kind: type, default: Any = None) -> Any:
        if name not in self.content:
            if default is None:
                raise self.error(name, "is missing")
            return default
        value = self.content.pop(name)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.error(name, f"is {value!r}, expected a {kind.__name__}")
        return value

    def numbers(self, name: str) -> list[int]:
        values = self.take(name, list)
        if not values or len(set(map(str, values))) != len(values) or not all(_whole(value) for value in values):
            raise self.error(name, f"is {values!r}, expected different whole numbers from 0")
        return list(values)

    def texts(self, name: str) -> tuple[str, ...]:
        values = self.take(name, list, [])
        if not all(isinstance(value, str) for value in values):
            raise self.error(name, f"is {values!r}, expected a list of names")
        return tuple(values)

    def end(self) -> None:
        if self.content:
            raise self.error(next(iter(self.content)), "is not known")

    def error(self, name: str, words: str) -> StudyError:
        return StudyError(f"{self.path}: {self.place}{name} {words}")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _recipes(fields: _Fields, kind: str) -> Iterator[tuple[str, Recipe]]:
    for name, content in fields.take(kind, dict, {} if kind == "teachers" else None).items():
        if not isinstance(content, dict):
            raise fields.error(f"{kind}.{name}", f"is {content!r}, expected an object")
        if not name.replace("_", "").replace("-", "").isalnum() or name == "teachers":
            raise fields.error(f"{kind}.{name}", "is no name for a folder: letters, digits, '_' and '-'")
        own = _Fields(fields.path, content, f"{kind}.{name}.")
        overlays, settings = own.texts("overlays"), own.take("settings", dict, {})
        if kind == "teachers":
            recipe = Recipe(name, overlays, settings, crossfit=own.take("crossfit", int, 0))
        else:
            recipe = Recipe(name, overlays, settings, teacher=own.take("teacher", str, "") or None)
        own.end()
        yield name, recipe


def _check(study: Study, configs: Path) -> None:
    if not study.arms:
        raise StudyError(f"{study.path}: arms is empty")
    if study.reference not in study.arms:
        raise StudyError(f"{study.path}: reference is {study.reference!r}, the arms are {', '.join(study.arms)}")
    _refuse(study, "settings", study.settings, OWN)
    for kind, recipes in (("teachers", study.teachers), ("arms", study.arms)):
        for recipe in recipes.values():
            _refuse(study, f"{kind}.{recipe.name}.settings", recipe.settings, OWN)
            _check_overlays(study, f"{kind}.{recipe.name}", recipe.overlays, configs)
    for arm in study.arms.values():
        if arm.teacher is not None and arm.teacher not in study.teachers:
            known = ", ".join(study.teachers) or "none"
            raise StudyError(f"{study.path}: arms.{arm.name}.teacher is {arm.teacher!r}, the teachers are: {known}")
        _refuse(study, f"arms.{arm.name}.settings", arm.settings, FAIR, ": every arm is trained alike")
        for overlay in arm.overlays:
            content = read_json_object(configs / f"{overlay}.json")
            place = f"arms.{arm.name}.overlays: {overlay}.json"
            _refuse(study, place, content, FAIR - {"train"}, ": every arm is trained alike")


def _check_overlays(study: Study, place: str, overlays: Sequence[str], configs: Path) -> None:
    for overlay in overlays:
        if not (configs / f"{overlay}.json").is_file():
            raise FileNotFoundError(
                f"{study.path}: {place}.overlays names {overlay}, there is no {configs / overlay}.json"
            )


def _refuse(study: Study, place: str, given: Mapping[str, Any], names: frozenset[str], why: str = "") -> None:
    found = sorted(name for name in given if name.lstrip("+").partition("#")[0] in names)
    if found:
        told = why or ": the study sets it itself"
        raise StudyError(f"{study.path}: {place} sets {', '.join(found)}{told}")
