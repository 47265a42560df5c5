"""Datalists for teachers that take turns: each leaves out one part of the training families.

Source: cross-fitting, Chernozhukov et al., "Double/debiased machine learning for treatment and structural parameters",
    Econometrics Journal 2018, definition 3.1.
"""

import copy
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdmri_monai.data.datalist import read_datalist, write_datalist
from kdmri_monai.data.datalist_format import class_names
from kdmri_monai.data.families import merge_patients
from kdmri_monai.data.leakage import check_leakage
from kdmri_monai.data.records import SliceRecord
from kdmri_monai.data.stratify import family_folds
from kdmri_monai.data.taxonomy import SPLITS

FIELD = "crossfit"
"""Field of a datalist that says that it is one of several, and which."""


def crossfit_datalists(datalist_path: Path, parts: int = 3, seed: int = 0) -> list[Path]:
    """Writes the datalists that train the members of a cross-fitted teacher.

    List i trains on all training families but those of part i, validates on the same patients as before, and has part
    i as its test split, so that its test results are those of patients whom the teacher did not learn from. The test
    split of the data set is in none of the lists. Parts are whole families, in equal shares of classes, of kinds of
    patient id and of patients.

    Args:
        datalist_path: ``datalist.json``; the lists are written beside it as ``datalist.crossfit-0-of-3.json`` and so
            on. The same datalist gives the same bytes again.
        parts: How many, at least 2.
        seed: Seed of the shuffle of the families.

    Returns:
        Paths of the lists, part 0 first.

    Raises:
        FileNotFoundError: There is no such datalist.
        LeakageError: The datalist leaks.
        ValueError: Fewer than 2 parts, fewer training families than parts, a class that a list would not train on,
            a datalist of another form, or one that is itself a part.
    """
    path = Path(datalist_path)
    if parts < 2:
        raise ValueError(f"parts is {parts}, allowed are 2 and more: each teacher leaves out one")
    datalist = read_datalist(path)
    check_leakage(datalist)
    if FIELD in datalist:
        raise ValueError(f"{path} is itself one of {datalist[FIELD]['parts']} parts; give the datalist it was made of")
    part_of = _parts(datalist["training"], parts, seed)
    origin = {"of": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "parts": parts, "seed": seed}
    lists = {
        path.with_name(f"{path.stem}.crossfit-{part}-of-{parts}{path.suffix}"): _without(
            datalist, part_of, part, origin
        )
        for part in range(parts)
    }
    for name, content in lists.items():
        write_datalist(content, name)
    return list(lists)


def _parts(training: list[dict[str, Any]], parts: int, seed: int) -> dict[str, int]:
    """Part of every training patient; families as the check for leaks finds them."""
    families = merge_patients(
        link
        for entry in training
        for link in ((entry["patient"], ("image", entry["sha256"])), (entry["patient"], ("family", entry["family"])))
    )
    if len(set(families.values())) < parts:
        raise ValueError(f"{parts} parts want as many training families, there are {len(set(families.values()))}")
    folds = family_folds([_record(entry) for entry in training], families, parts, seed)
    return {patient: folds[family] for patient, family in families.items()}


def _record(entry: Mapping[str, Any]) -> SliceRecord:
    same = ("id", "label", "patient", "patient_source", "source", "sha256")
    return SliceRecord(
        **{field: entry[field] for field in same}, index=0, size=tuple(entry["size"]), has_mask="mask" in entry
    )


def _without(
    datalist: Mapping[str, Any], part_of: Mapping[str, int], part: int, origin: Mapping[str, Any]
) -> dict[str, Any]:
    """The datalist whose training leaves out one part, which is its test split instead."""
    entries = {
        "training": [entry for entry in datalist["training"] if part_of[entry["patient"]] != part],
        "validation": datalist["validation"],
        "test": [entry for entry in datalist["training"] if part_of[entry["patient"]] == part],
    }
    before = {entry["label"] for entry in datalist["training"]}
    lost = sorted(before - {entry["label"] for entry in entries["training"]})
    if lost:
        name = class_names(datalist)[lost[0]]
        raise ValueError(
            f"without part {part} of {origin['parts']} no {name} is left to train on: its families are too few; ask "
            "for more parts"
        )
    kept = {field: value for field, value in datalist.items() if field != "counts"}  # those of the splits before
    note = (
        f"part {part} of {origin['parts']} of the training split of {origin['of']} is the test split here; the test "
        "split of that list is left out"
    )
    counts = {f"num{split.capitalize()}": len(entries[split]) for split in SPLITS}
    head = {**kept, FIELD: {"part": part, **origin}, "notes": [*datalist.get("notes", ()), note]}
    return copy.deepcopy({**head, **counts, **entries})
