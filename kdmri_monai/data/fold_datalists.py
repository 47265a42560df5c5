"""Datalists of all folds of a dataset folder, over its one image store."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdmri_monai.data.datalist import build_datalist, read_datalist, write_datalist
from kdmri_monai.data.datalist_format import class_names
from kdmri_monai.data.families import group_families
from kdmri_monai.data.findings import Finding
from kdmri_monai.data.records import SliceRecord
from kdmri_monai.data.splits import SplitOptions, assign_splits
from kdmri_monai.data.store_path import parse_store_path
from kdmri_monai.data.summary import count_slices
from kdmri_monai.data.taxonomy import SPLITS

KEPT = ("name", "description", "source", "counts", "skipped")
"""What the folds have in common with the folder, but for the counts by split."""


def fold_datalists(datalist_path: Path) -> list[Path]:
    """Writes the datalist of every fold, as ``kdmri prepare --fold K`` would have made it.

    Number of folds, share for validation and seed are those of the datalist.

    Args:
        datalist_path: ``datalist.json`` of a folder of ``kdmri prepare``; the lists are written beside it as
            ``datalist.fold-0-of-5.json`` and so on. The same datalist gives the same bytes again.

    Returns:
        Paths of the lists, fold 0 first.

    Raises:
        FileNotFoundError: There is no such datalist.
        ValueError: It has no folds of our own (an external set, one without a test part, or published folds), or is of
            another form.
    """
    path = Path(datalist_path)
    datalist = read_datalist(path)
    folds = datalist.get("folds")
    if folds is None or datalist.get("folds_file") is not None or "preparation" not in datalist:
        raise ValueError(
            f"{path} has no folds of kdmri prepare: prepare it without --external, --whole and --folds-file"
        )
    records = [_record(entry, path) for split in SPLITS for entry in datalist[split]]
    lists = {
        path.with_name(f"{path.stem}.fold-{fold}-of-{folds}{path.suffix}"): _with_test(datalist, records, fold)
        for fold in range(folds)
    }
    for name, content in lists.items():
        write_datalist(content, name)
    return list(lists)


def _record(entry: Mapping[str, Any], path: Path) -> SliceRecord:
    _, row = parse_store_path(entry["image"])
    if row is None:
        raise ValueError(f"{path}: image {entry['image']!r} is no row of a store")
    same = ("id", "label", "patient", "patient_source", "source", "sha256")
    return SliceRecord(
        **{field: entry[field] for field in same},
        index=row,
        size=tuple(entry["size"]),
        has_mask="mask" in entry,
        plane=entry.get("plane"),
    )


def _with_test(datalist: Mapping[str, Any], records: list[SliceRecord], fold: int) -> dict[str, Any]:
    classes = class_names(datalist)
    options = SplitOptions(datalist["folds"], fold, datalist["validation_fraction"], datalist["seed"])
    assignment = assign_splits(records, options, classes)
    skipped = [Finding(**finding) for finding in datalist["skipped"]]
    counts = count_slices(records, assignment.split, group_families(records), skipped, (), classes)
    told = {name: datalist["counts"][name] for name in ("remarks", "remark_groups")}
    preparation = datalist["preparation"]
    provenance = {
        **{name: datalist[name] for name in KEPT},
        "counts": counts | told,
        "preparation": {**preparation, "split": {**preparation["split"], "fold": fold}},
    }
    return build_datalist(records, assignment, options, provenance, classes)
