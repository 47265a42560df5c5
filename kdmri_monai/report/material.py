"""What the report is written from: arms of runs in their roles, their tables, and what was found out about them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from kdmri_monai.evaluation.arms import Arm, arms_of
from kdmri_monai.evaluation.errors import ComparisonError
from kdmri_monai.evaluation.history import History
from kdmri_monai.evaluation.intervals import Interval, seed_averaged
from kdmri_monai.evaluation.pairing import aligned
from kdmri_monai.evaluation.predictions import Predictions, by_patient
from kdmri_monai.evaluation.resampling import Resampling
from kdmri_monai.evaluation.run_folder import RunFolder
from kdmri_monai.evaluation.strata import tumour_areas
from kdmri_monai.evaluation.subject import file_digest
from kdmri_monai.report.roles import Role, roles_of

Evidence = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class Member:
    """An arm in its role.

    Attributes:
        arm: Its runs.
        role: ``teacher`` of another arm, ``baseline`` that differences refer to, ``distilled``, or ``other``.
        split: Split that the report is about.
    """

    arm: Arm
    role: Role
    split: str

    @property
    def name(self) -> str:
        """Name of the arm."""
        return self.arm.name

    @property
    def runs(self) -> tuple[RunFolder, ...]:
        """Its runs, by seed and fold."""
        return self.arm.runs

    @property
    def given(self) -> str:
        """What the network is given beside the image, empty for nothing."""
        return self.runs[0].given

    @cached_property
    def tables(self) -> tuple[Predictions, ...]:
        """Predictions of the split, one table a seed."""
        return self.arm.tables(self.split)

    @cached_property
    def patients(self) -> tuple[Predictions, ...]:
        """The same by patient."""
        return tuple(by_patient(table) for table in self.tables)

    @cached_property
    def validation(self) -> tuple[Predictions, ...]:
        """Predictions of the validation slices, one table a run; none where a run has not predicted them."""
        there = all(run.predictions_path("validation").is_file() for run in self.runs)
        return tuple(run.predictions("validation") for run in self.runs) if there else ()

    @cached_property
    def histories(self) -> tuple[History, ...]:
        """Numbers of the epochs of the runs that wrote them."""
        return tuple(run.history for run in self.runs if run.history is not None)

    @cached_property
    def evidence(self) -> tuple[Evidence, ...]:
        """Sections of the evidence, one a run; empty for a run that was not examined.

        Raises:
            ValueError: A section was found with other weights than those in the folder.
        """
        return tuple(_checked_evidence(run, self.split) for run in self.runs)

    def sections(self, name: str) -> list[Mapping[str, Any]]:
        """One section of the runs that have it."""
        return [found[name] for found in self.evidence if name in found]

    def averaged(self, by_patients: bool = False, reference: "Member | None" = None) -> dict[str, Interval]:
        """Metrics over the seeds, or their paired difference to another arm, by name."""
        mine, theirs = (
            (self.patients if by_patients else self.tables),
            () if reference is None else (reference.patients if by_patients else reference.tables),
        )
        return seed_averaged(mine, theirs)


@dataclass(frozen=True, eq=False)
class Material:
    """All that the report shows.

    Attributes:
        members: Arms in the order given, the teacher first and the baseline second.
        split: Split that was tested.
        datalists: Content of the datalist of every fold by its path, where the files are where the runs say.
        resampling: How the intervals are found.
    """

    members: tuple[Member, ...]
    split: str
    datalists: Mapping[Path, Mapping[str, Any]] = field(default_factory=dict)
    resampling: Resampling = field(default_factory=Resampling)

    def in_role(self, role: Role) -> list[Member]:
        """Arms in a role, in their order."""
        return [member for member in self.members if member.role == role]

    @property
    def teacher(self) -> Member | None:
        """The first teacher."""
        return next(iter(self.in_role("teacher")), None)

    @property
    def baseline(self) -> Member | None:
        """What differences refer to."""
        return next(iter(self.in_role("baseline")), None)

    @property
    def student(self) -> Member | None:
        """The first distilled arm, which the headline is about."""
        return next(iter(self.in_role("distilled")), None)

    @property
    def table(self) -> Predictions:
        """A table whose slices and labels all others share."""
        return self.members[0].tables[0]

    @cached_property
    def leaks(self) -> dict[str, str]:
        """Runs that have learned from tested patients, and how many; empty where no record tells of one."""
        told = {str(run.path): run.leak(run.predictions(self.split)) for one in self.members for run in one.runs}
        return {name: words for name, words in told.items() if words}

    @cached_property
    def entries(self) -> dict[str, Mapping[str, Any]]:
        """Entries of the tested slices by id, from the datalists that were found."""
        return {str(entry["id"]): entry for datalist in self.datalists.values() for entry in datalist[self.split]}

    @cached_property
    def areas(self) -> dict[str, float]:
        """Share of the image that is tumour, by id of the tested slices that have a mask."""
        found = (tumour_areas(path, self.split) for path in self.datalists)
        return {name: area for areas in found for name, area in areas.items()}


def gather(
    folders: Sequence[Path], split: str = "test", reference: str | None = None, dataset_dir: Path | None = None
) -> Material:
    """Reads runs for a report.

    Args:
        folders: Run folders that were evaluated, none twice.
        split: Split that was evaluated.
        reference: Name of the arm that differences refer to; by default the arm named ``baseline``, else the first one
            that was trained without a teacher and teaches none.
        dataset_dir: Where the dataset folder is now, for runs of one datalist; where the runs say by default.

    Raises:
        ComparisonError: No runs, runs whose slices differ (it says which), or no such arm.
        ValueError: A file of a run is of another form.
        OSError: A file cannot be read.
    """
    if not folders:
        raise ComparisonError("no runs to report")
    runs = [RunFolder(Path(folder)) for folder in folders]
    arms = arms_of(runs)
    roles = roles_of(arms, reference)
    order: tuple[Role, ...] = ("teacher", "baseline", "distilled", "other")
    members = sorted((Member(arm, role, split) for arm, role in roles), key=lambda member: order.index(member.role))
    _check_same_slices(members)
    return Material(tuple(members), split, _datalists(runs, dataset_dir))


def _check_same_slices(members: Sequence[Member]) -> None:
    faults = []
    for member in members:
        for number, table in enumerate(member.tables):
            try:
                aligned(table, members[0].tables[0])
            except ComparisonError as error:
                faults.append(f"{member.name}, table {number + 1}: {error}")
    if faults:
        raise ComparisonError(f"the slices of {members[0].name} and of others differ: " + "; ".join(faults))


def _checked_evidence(run: RunFolder, split: str) -> Evidence:
    sections = run.evidence(split) or {}
    digest = None if run.checkpoint is None else file_digest(run.checkpoint)
    for name, section in sections.items():
        found = section.get("provenance", {}).get("checkpoint_sha256")
        if digest is not None and found is not None and found != digest:
            raise ValueError(f"{run.path}: {name} was examined with other weights than model.pt; run kdmri examine")
    return sections


def _datalists(runs: Sequence[RunFolder], dataset_dir: Path | None) -> dict[Path, Mapping[str, Any]]:
    """Datalists of the runs, one a checksum; references to stores are made absolute."""
    found: dict[str, Path] = {}
    for run in runs:
        path = Path(run.data.get("datalist", "")) if dataset_dir is None else dataset_dir / "datalist.json"
        recorded = run.data.get("sha256")
        if recorded is None or recorded in found or not path.is_file():
            continue
        if file_digest(path) != recorded:
            raise ComparisonError(f"{path} is not the datalist of {run.path}: its SHA-256 differs from run.json")
        found[recorded] = path
    return {path: _absolute(json.loads(path.read_text(encoding="utf-8")), path.parent) for path in found.values()}


def _absolute(datalist: dict[str, Any], folder: Path) -> dict[str, Any]:
    for split in ("training", "validation", "test"):
        for entry in datalist.get(split, []):
            for key in ("image", "mask"):
                if key in entry:
                    entry[key] = str(folder / entry[key])
    return datalist
