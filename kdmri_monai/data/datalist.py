"""``datalist.json`` in MONAI's decathlon form: made, written, read, and checked for leaks each time.

Source of the form: Medical Segmentation Decathlon, as ``monai.data.load_decathlon_datalist`` reads it, with what a
reader needs to trust it added: where the slices come from, their digests, the rule that groups patients, the folds.
"""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdmri_monai.data.atomic import write_atomically
from kdmri_monai.data.datalist_format import FORMAT, check_format, class_names
from kdmri_monai.data.families import group_families
from kdmri_monai.data.leakage import check_leakage
from kdmri_monai.data.published_folds import read_published_folds
from kdmri_monai.data.records import SliceRecord
from kdmri_monai.data.splits import Assignment, SplitOptions
from kdmri_monai.data.store_path import parse_store_path
from kdmri_monai.data.taxonomy import CLASSES, SPLITS

__all__ = [
    "build_datalist",
    "check_leakage",
    "check_num_classes",
    "class_names",
    "load_split",
    "read_classes",
    "read_datalist",
    "write_datalist",
]

IMAGES, MASKS = "images.npy", "masks.npy"
LOADED = ("image", "mask", "label", "patient", "family", "id", "plane", "source", "sha256")


def build_datalist(
    records: Sequence[SliceRecord],
    assignment: Assignment,
    options: SplitOptions,
    provenance: Mapping[str, Any],
    classes: Sequence[str] = CLASSES,
) -> dict[str, Any]:
    """The datalist of a dataset folder.

    Args:
        records: Slices as the image store holds them.
        assignment: Their splits and folds.
        options: How they were split.
        provenance: Further fields: ``name``, ``description``, ``source``, ``counts``, ``skipped``, ``preparation``.
        classes: Names of the K classes.

    Returns:
        The datalist; entries follow the rows of the image store.

    Raises:
        ValueError: ``provenance`` has a field that is computed here.
    """
    families = group_families(records)
    entries: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for record in sorted(records, key=lambda record: record.index):
        entries[assignment.split[record.id]].append(_entry(record, families, assignment))
    folded = options.folded
    computed = {
        "format": FORMAT,
        "numClasses": len(classes),
        "classes": list(classes),
        **{f"num{split.capitalize()}": len(entries[split]) for split in SPLITS},
        "group_rule": assignment.group_rule,
        "folds": options.folds if folded else None,
        "fold": options.fold if folded else None,
        "seed": options.seed,
        "validation_fraction": None if options.external else options.validation,
        "folds_file": _folds_file(options.folds_file),
        "notes": list(assignment.notes),
        **entries,
    }
    twice = sorted(computed.keys() & provenance.keys())
    if twice:
        raise ValueError(f"provenance has fields that the datalist computes itself: {', '.join(twice)}")
    return {**provenance, **computed}


def write_datalist(datalist: Mapping[str, Any], path: Path) -> None:
    """Writes a datalist, as a whole or not at all.

    Args:
        datalist: As ``build_datalist`` makes it.
        path: File to write; its folder exists. The same datalist gives the same bytes.

    Raises:
        LeakageError: The datalist leaks.
        OSError: The file cannot be written; what was there before is untouched.
        ValueError: The datalist is not of the form that ``read_datalist`` accepts.
    """
    check_format(datalist, str(path))
    check_leakage(datalist)
    text = json.dumps(datalist, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(Path(path), f"{text}\n".encode())


def read_datalist(path: Path) -> dict[str, Any]:
    """Reads a datalist and checks its form (not whether it leaks: ``load_split`` does).

    Args:
        path: The file.

    Returns:
        The datalist.

    Raises:
        FileNotFoundError: There is none; the message says how to make one.
        ValueError: It is no JSON, or not of our form; the message names file, split, entry and field.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path} does not exist; make it with: kdmri prepare SOURCE {Path(path).parent}"
        ) from None
    try:
        datalist = json.loads(content.decode("utf-8"), object_pairs_hook=_without_repeats)
    except ValueError as error:
        raise ValueError(f"{path}: not a JSON file: {error}") from error
    check_format(datalist, str(path))
    return dict(datalist)


def read_classes(path: Path) -> list[str]:
    """Names of the classes of a dataset, in the order of their labels.

    Where there is no datalist yet, those of the Figshare set, so that the networks of a configuration can be built
    without data; whatever reads slices refuses the missing datalist.

    Args:
        path: ``datalist.json``.

    Raises:
        ValueError: It is no JSON, or not of our form.
    """
    return list(class_names(read_datalist(path))) if Path(path).is_file() else list(CLASSES)


def check_num_classes(path: Path, num_classes: int) -> None:
    """Refuses a dataset that has another number of classes than a network.

    Args:
        path: ``datalist.json``.
        num_classes: Outputs of the network.

    Raises:
        FileNotFoundError: There is no datalist.
        ValueError: The two numbers differ; the message names both.
    """
    names = class_names(read_datalist(path))
    if len(names) != num_classes:
        raise ValueError(
            f"{path} has {len(names)} classes ({', '.join(names)}), num_classes is {num_classes}: leave num_classes "
            "alone, it then follows the datalist"
        )


def load_split(path: Path, split: str) -> list[dict[str, Any]]:
    """Entries of one split for a MONAI dataset; the whole datalist is checked for leaks first.

    Args:
        path: ``datalist.json``; images and masks are found beside it.
        split: "training", "validation" or "test".

    Returns:
        Entries with the keys of ``LOADED``, ``mask`` and ``plane`` only where they are known; image and mask are
        absolute paths that keep their row of the store, ``.../images.npy#17``. The digest is among them so that
        caches that go by the content of an entry notice changed pixels. Size, fold and the place of the patient id
        are left behind; a bundle picks the keys that it feeds to a network.

    Raises:
        FileNotFoundError: The datalist, or an image store that it names, does not exist.
        LeakageError: The datalist leaks.
        ValueError: Unknown or empty split, or a datalist of another form, or one that names a path outside its folder.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}, allowed are {', '.join(SPLITS)}")
    datalist = read_datalist(path)
    check_leakage(datalist)
    if not datalist[split]:
        filled = [name for name in SPLITS if datalist[name]]
        raise ValueError(f"{path}: {split} is empty; slices are in {', '.join(filled) or 'no split at all'}")
    folder = os.path.dirname(os.path.abspath(path))
    loaded = []
    for entry in datalist[split]:
        paths = {key: _absolute(folder, entry[key]) for key in ("image", "mask") if key in entry}
        loaded.append({key: paths.get(key, entry[key]) for key in LOADED if key in entry})
    _check_stores(path, folder, datalist[split])
    return loaded


def _entry(record: SliceRecord, families: Mapping[str, str], assignment: Assignment) -> dict[str, Any]:
    entry: dict[str, Any] = {"image": f"{IMAGES}#{record.index}"}
    if record.has_mask:
        entry["mask"] = f"{MASKS}#{record.index}"
    entry |= {"label": record.label, "patient": record.patient, "family": families[record.patient], "id": record.id}
    if record.id in assignment.fold:
        entry["fold"] = assignment.fold[record.id]
    if record.plane is not None:
        entry["plane"] = record.plane
    return entry | {
        "source": record.source,
        "patient_source": record.patient_source,
        "size": list(record.size),
        "sha256": record.sha256,
    }


def _folds_file(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    published = read_published_folds(path)
    return {"name": published.name, "sha256": published.sha256, "sizes": list(published.sizes)}


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; a key that stands twice would silently hide what it held first."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        repeated = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
        raise ValueError(f"keys stand twice in one object: {', '.join(repeated[:5])}")
    return fields


def _absolute(folder: str, text: str) -> str:
    file, row = parse_store_path(text)
    return os.path.join(folder, file) + ("" if row is None else f"#{row}")


def _check_stores(path: Path, folder: str, entries: Sequence[Mapping[str, Any]]) -> None:
    files = {parse_store_path(entry[key])[0] for entry in entries for key in ("image", "mask") if key in entry}
    missing = sorted(file for file in files if not os.path.isfile(os.path.join(folder, file)))
    if missing:
        raise FileNotFoundError(
            f"{folder}/{missing[0]}, named in {path}, does not exist; make it again with kdmri prepare"
        )
