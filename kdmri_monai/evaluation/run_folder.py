"""A run folder, read: what was trained, on whom, what the network said, and what was found out about it.

The one reader of such folders for comparisons, reports and cards. Nothing in a folder is executed: expressions of a
configuration (``$...``) stay text.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from kdmri_monai.data.families import patient_family
from kdmri_monai.evaluation.errors import ComparisonError
from kdmri_monai.evaluation.evidence_file import evidence_path, read_evidence
from kdmri_monai.evaluation.history import FILE as HISTORY
from kdmri_monai.evaluation.history import History, read_history
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.predictions_file import read_predictions

RECORD, CONFIG, CHECKPOINT = "run.json", "config.json", "model.pt"
HONEST_RULES = ("family", "patient")
"""Group rules under which no patient is trained on and tested on."""


class RunFolderError(ComparisonError):
    """A file of a run folder that is missing or of another form; the message names file and field."""


@dataclass(frozen=True)
class RunFolder:
    """A folder that training left, and the evaluation filled.

    A folder that holds predictions alone, of another program, can be read too: its record is empty then. Files are
    read when they are asked for, ``run.json`` at once.

    Attributes:
        path: The folder.
        record: Content of ``run.json``: ``settings``, ``data``, ``environment``, ``command``, ``git_revision``; empty
            where there is none.

    Raises:
        RunFolderError: There is no such folder, or ``run.json`` is of another form.
    """

    path: Path
    record: Mapping[str, Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))
        if not self.path.is_dir():
            raise RunFolderError(f"there is no run folder {self.path}")
        object.__setattr__(self, "record", _object(self.path / RECORD) or {})

    @property
    def name(self) -> str:
        """``name`` of ``run.json``, else the name of the folder."""
        return self._field("name", str, "a text") or self.path.resolve().name

    @property
    def settings(self) -> Mapping[str, Any]:
        """Tunables of the training by name; empty where they were not recorded."""
        return self._field("settings", dict, "an object") or {}

    @property
    def data(self) -> Mapping[str, Any]:
        """``datalist``, ``sha256``, ``slices``, ``training_families``, ``fold``, ``group_rule``; possibly empty."""
        return self._field("data", dict, "an object") or {}

    @property
    def seed(self) -> int | None:
        """Seed of the training, where it was recorded."""
        return self._field("settings#seed", int, "a whole number")

    @property
    def fold(self) -> int | None:
        """The fold that was held out for the test, from 0, where it was recorded."""
        return self._field("data#fold", int, "a whole number")

    @cached_property
    def given(self) -> str:
        """What the network was given beside the image, ``the tumour mask: distance, rings``; empty for none.

        ``network_uses`` of the settings says it. Runs from before that field was written tell by their configuration.
        """
        uses = self._field("settings#network_uses", str, "a text")
        if uses is not None:
            return "; ".join(part.removeprefix("from ") for part in uses.split("; ") if "mask" in part)
        return "" if self.config is None else _mask_given(self.config)

    @cached_property
    def config(self) -> Mapping[str, Any] | None:
        """The merged configuration with the overrides of the command line, as text; ``None`` without ``config.json``.

        Raises:
            ValueError: The files are not those of a run of ``monai.bundle``.
        """
        if not (self.path / CONFIG).is_file():
            return None
        from kdmri_monai.engines.run_config import run_config  # loads torch, which few comparisons need

        return dict(run_config(self.path).get())

    @property
    def checkpoint(self) -> Path | None:
        """File of the best weights, where it is there."""
        return _there(self.path / CHECKPOINT)

    def predictions(self, split: str = "test") -> Predictions:
        """What the network said of every slice of a split.

        Raises:
            RunFolderError: The run was not evaluated on it.
            PredictionError: The table cannot be trusted.
        """
        file = self.predictions_path(split)
        if not file.is_file():
            raise RunFolderError(f"{self.path}: has no {file.name}; evaluate the run first")
        return read_predictions(file)

    def predictions_path(self, split: str = "test") -> Path:
        """Where the predictions of a split lie, or would lie."""
        return self.path / f"{split}_predictions.csv"

    def metrics(self, split: str = "test") -> dict[str, Any] | None:
        """Content of ``{split}_metrics.json``, undefined numbers as ``None``; ``None`` where there is no file."""
        return _object(self.path / f"{split}_metrics.json")

    def evidence(self, split: str = "test") -> dict[str, dict[str, Any]] | None:
        """Sections of ``{split}_evidence.json`` by name, undefined numbers as ``None``; ``None`` without a file.

        Raises:
            ValueError: The file is of another form, or of an older one.
        """
        file = evidence_path(self.path, split)
        return read_evidence(file) if file.is_file() else None

    @cached_property
    def history(self) -> History | None:
        """Numbers of the training by epoch; ``None`` without ``metrics.jsonl``."""
        return read_history(self.path) if (self.path / HISTORY).is_file() else None

    def leak(self, predictions: Predictions) -> str:
        """In words, which of these patients the network has learned from; empty where the record tells of none.

        Args:
            predictions: Slices that were held out.
        """
        rule, learned = self.data.get("group_rule"), self._field("data#training_families", list, "a list") or []
        held_out = dict(zip(predictions.patient.tolist(), predictions.family.tolist(), strict=True))
        known = set(learned)
        seen = {family for patient, family in held_out.items() if {family, patient_family(patient)} & known}
        if seen:
            return f"{len(seen)} of {len(set(held_out.values()))} patient families were trained on"
        return f"split by {rule}, not by patient" if rule not in (None, *HONEST_RULES) else ""

    @cached_property
    def unsure(self) -> str:
        """In words, that a teacher may have learned from the held-out patients; empty where its run tells that not."""
        facts = self._field("settings#teacher_facts", list, "a list") or []
        unknown = sum(isinstance(one, Mapping) and one.get("training_data") == "unknown" for one in facts)
        return "its teacher's training data are unknown" if unknown else ""

    def _field(self, name: str, kind: type, allowed: str) -> Any:
        """A field of ``run.json``, ``settings#seed``; ``None`` where it is missing or null."""
        value: Any = self.record
        for part in name.split("#"):
            if not isinstance(value, Mapping):
                raise RunFolderError(f"{self.path / RECORD}: {name} cannot be read, {value!r} is no object")
            value = value.get(part)
            if value is None:
                return None
        if not isinstance(value, kind) or isinstance(value, bool):
            raise RunFolderError(f"{self.path / RECORD}: {name.replace('#', '.')} is {value!r}, {allowed} is expected")
        return value


def _there(file: Path) -> Path | None:
    return file if file.is_file() else None


def _object(file: Path) -> dict[str, Any] | None:
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:  # of JSON or of UTF-8
        raise RunFolderError(f"{file}: is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise RunFolderError(f"{file}: holds no JSON object")
    return content


def _mask_given(config: Mapping[str, Any]) -> str:
    """Maps that a network such as ``GeometryTeacher`` makes of the mask: ``from_mask`` of its ``geometry``."""
    value: Any = "@network_def"
    for part in (None, "geometry", "from_mask"):
        if part is not None:
            value = value.get(part) if isinstance(value, Mapping) else None
        value = _followed(config, value)
    if isinstance(value, list):
        return f"the tumour mask: {', '.join(map(str, value))}" if value else ""
    return "the tumour mask" if value else ""


def _followed(config: Mapping[str, Any], value: Any) -> Any:
    """What a reference ``@id`` or ``%id`` stands for, over any number of steps; ``None`` where there is no such id."""
    steps = 0
    while isinstance(value, str) and value[:1] in ("@", "%") and steps < len(config):
        target: Any = config
        for part in value[1:].split("#"):
            target = target.get(part) if isinstance(target, Mapping) else None
        value, steps = target, steps + 1
    return value
