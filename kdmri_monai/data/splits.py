"""Training, validation and test part, whole patient families in each."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kdmri_monai.data.errors import LeakageError
from kdmri_monai.data.families import group_families, patient_family
from kdmri_monai.data.published_folds import crossing_families, read_published_folds
from kdmri_monai.data.records import SliceRecord
from kdmri_monai.data.stratify import family_folds, validation_families
from kdmri_monai.data.taxonomy import CLASSES, SPLITS, Split

__all__ = ["Assignment", "SplitOptions", "assign_splits", "group_families", "patient_family"]

GroupRule = Literal["family", "patient"]

NO_TEST = "there is no test part: what a model of all patients is worth must be known from folds"


@dataclass(frozen=True)
class SplitOptions:
    """How a data set is split.

    Attributes:
        folds: Number of folds.
        fold: The fold that is the test part, counted from 0: fold 0 is fold 1 of a published file.
        validation: Share of the slices outside the test part that go to validation, 0 <= share < 1.
        seed: Seed of folds and of the validation part.
        folds_file: Published folds to use instead of our own (``published_folds``), or ``None``.
        external: Everything is test: a data set of another hospital.
        whole: Nothing is test: a model for others that learns from everybody, and whose performance is known from the
            folds.

    Raises:
        ValueError: A value is outside its range, or two of ``folds_file``, ``external`` and ``whole`` are asked for.
    """

    folds: int = 5
    fold: int = 0
    validation: float = 0.15
    seed: int = 0
    folds_file: Path | None = None
    external: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        """Refuses values outside their range."""
        if self.folds < 2:
            raise ValueError(f"folds is {self.folds}, allowed are 2 and more")
        if not 0 <= self.fold < self.folds:
            raise ValueError(f"fold is {self.fold}, allowed are 0 .. {self.folds - 1} (folds count from 0)")
        if not 0 <= self.validation < 1:
            raise ValueError(f"validation is {self.validation}, allowed are shares from 0 to below 1")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed}, allowed are 0 .. {2**32 - 1}")
        if self.external and self.folds_file is not None:
            raise ValueError("an external data set is test as a whole: it takes no folds file")
        if self.whole and (self.external or self.folds_file is not None):
            raise ValueError("without a test part there are no folds: whole takes neither a folds file nor external")

    @property
    def folded(self) -> bool:
        """Whether the data set has folds, one of which is the test part."""
        return not (self.external or self.whole)


@dataclass(frozen=True)
class Assignment:
    """Where every slice went.

    Attributes:
        split: Slice id to split.
        fold: Slice id to fold, counted from 0; empty for an external data set, which has no folds.
        group_rule: What stays together between training and test: whole families, or, with published folds, only
            patients. Training and validation share no family under either rule.
        notes: What the user should know, one sentence each.
    """

    split: dict[str, Split]
    fold: dict[str, int]
    group_rule: GroupRule
    notes: tuple[str, ...]


def assign_splits(
    records: Sequence[SliceRecord], options: SplitOptions, classes: Sequence[str] = CLASSES
) -> Assignment:
    """Splits a data set by patient family.

    The test part is fold ``options.fold``. Folds come from scikit-learn's ``StratifiedGroupKFold`` with families as
    groups, stratified by class and by kind of patient id (``stratify``), or from a published file. The validation
    part is cut from the other folds by whole families. The order of ``records`` does not matter.

    Args:
        records: Slices, ids unique.
        options: How to split.
        classes: Names of the K classes, for notes on those that a part lacks.

    Returns:
        Split and fold of every slice.

    Raises:
        BadSourceError: The folds file is broken.
        FileNotFoundError: There is no such folds file.
        LeakageError: The folds file puts one patient, or one image, on two sides.
        ValueError: No slices, ids that are not unique, fewer families than folds, a fold without slices, or a folds
            file that does not fit the slices or ``options.folds``.
    """
    _check_ids(records)
    families = group_families(records)
    notes = _merged_notes(families)
    if options.external:
        split: dict[str, Split] = {record.id: "test" for record in records}
        return Assignment(split, {}, "family", (*notes, *_absent_classes(records, split, ("test",), classes)))
    if options.whole:
        split = _without_test(records, families, options)
        return Assignment(
            split, {}, "family", (*notes, NO_TEST, *_absent_classes(records, split, ("training",), classes))
        )
    rule: GroupRule = "family" if options.folds_file is None else "patient"
    if options.folds_file is None:
        folds = family_folds(records, families, options.folds, options.seed)
        fold = {record.id: folds[families[record.patient]] for record in records}
        notes += _rare_class_notes(records, families, options.folds, classes)
    else:
        fold, crossing = _published(records, families, options, options.folds_file)
        notes.append(crossing)
    split = _parts(records, families, fold, options)
    named = [name for name in SPLITS if name != "validation" or options.validation > 0]
    return Assignment(split, fold, rule, (*notes, *_absent_classes(records, split, named, classes)))


def _without_test(
    records: Sequence[SliceRecord], families: Mapping[str, str], options: SplitOptions
) -> dict[str, Split]:
    held = validation_families(records, families, options.validation, options.folds, f"{options.seed} whole")
    return {record.id: "validation" if families[record.patient] in held else "training" for record in records}


def _check_ids(records: Sequence[SliceRecord]) -> None:
    if not records:
        raise ValueError("there are no slices to split")
    twice = sorted(slice_id for slice_id, count in Counter(record.id for record in records).items() if count > 1)
    if twice:
        raise ValueError(f"{len(twice)} slice ids stand more than once: {', '.join(twice[:5])}")


def _parts(
    records: Sequence[SliceRecord], families: Mapping[str, str], fold: Mapping[str, int], options: SplitOptions
) -> dict[str, Split]:
    """Split of every slice, once the folds are known."""
    rest = [record for record in records if fold[record.id] != options.fold]
    if not rest or len(rest) == len(records):
        there = sorted(set(fold.values()))
        raise ValueError(f"the slices at hand lie in folds {there}: fold {options.fold} cannot be the test part")
    salt = f"{options.seed} {options.fold}"
    held = validation_families(rest, families, options.validation, options.folds, salt)
    split: dict[str, Split] = {record.id: "test" for record in records}
    for record in rest:
        split[record.id] = "validation" if families[record.patient] in held else "training"
    return split


def _published(
    records: Sequence[SliceRecord], families: Mapping[str, str], options: SplitOptions, path: Path
) -> tuple[dict[str, int], str]:
    """Folds of a published file for the slices at hand, and the note on families that cross them."""
    published = read_published_folds(path)
    if len(published.sizes) != options.folds:
        raise ValueError(f"{path} has {len(published.sizes)} folds, asked for are {options.folds}")
    unknown = [record.id for record in records if record.id not in published.fold]
    if unknown:
        raise ValueError(f"{path} has no fold for {len(unknown)} slices: {', '.join(sorted(unknown)[:5])}")
    fold = {record.id: published.fold[record.id] for record in records}
    test = {record.id: int(fold[record.id] == options.fold) for record in records}
    _refuse_crossing(path, "patients", fold, {record.id: record.patient for record in records})
    _refuse_crossing(path, "identical images", test, {record.id: record.sha256 for record in records})
    rows = [(record.id, record.patient, families[record.patient]) for record in records]
    slices, patients, crossing = crossing_families(fold, rows)
    return fold, (
        f"test is fold {options.fold + 1} of {path.name} (sizes {', '.join(map(str, published.sizes))}); {len(slices)} "
        f"slices of {len(patients)} patients belong to {len(crossing)} families that cross folds"
    )


def _refuse_crossing(path: Path, what: str, side: Mapping[str, int], keys: Mapping[str, str]) -> None:
    rows = [(slice_id, slice_id, key) for slice_id, key in keys.items()]
    crossing = sorted(crossing_families(side, rows)[2])
    if crossing:
        raise LeakageError(f"{path} puts {len(crossing)} {what} on two sides: {', '.join(crossing[:5])}")


def _merged_notes(families: Mapping[str, str]) -> list[str]:
    merged = {patient_family(patient) for patient in families} - set(families.values())
    if not merged:
        return []
    return [f"{len(merged)} families share an identical image with another one and count as part of it"]


def _rare_class_notes(
    records: Sequence[SliceRecord], families: Mapping[str, str], folds: int, classes: Sequence[str]
) -> list[str]:
    notes = []
    for label, name in enumerate(classes):
        count = len({families[record.patient] for record in records if record.label == label})
        if count < folds:
            notes.append(f"{name}: {count} patient families, fewer than {folds} folds; some folds are without it")
    return notes


def _absent_classes(
    records: Sequence[SliceRecord], split: Mapping[str, Split], named: Sequence[str], classes: Sequence[str]
) -> list[str]:
    notes = []
    for part in named:
        present = {record.label for record in records if split[record.id] == part}
        absent = [name for label, name in enumerate(classes) if label not in present]
        if absent:
            notes.append(f"the {part} part has no {', no '.join(absent)}")
    return notes
