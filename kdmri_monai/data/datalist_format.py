"""Form of ``datalist.json``: every field that the package reads, and its check."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from kdmri_monai.data.class_names import check_classes
from kdmri_monai.data.store_path import is_store_path
from kdmri_monai.data.taxonomy import CLASSES, PLANES, SPLITS

FORMAT = "kdmri-datalist-1"

_DIGEST = re.compile(r"[0-9a-f]{64}")

Check = tuple[Callable[[Any], bool], str]


def _whole(value: Any, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


TEXT: Check = (lambda value: isinstance(value, str) and bool(value.strip()) and "\0" not in value, "a text")
PLACE: Check = (is_store_path, "a path inside the folder of the datalist, like images.npy#17")
COUNT: Check = (_whole, "a whole number from 0")

ENTRY_REQUIRED: Mapping[str, Check] = {
    "image": PLACE,
    "label": COUNT,
    "patient": TEXT,
    "family": TEXT,
    "id": TEXT,
    "source": TEXT,
    "patient_source": TEXT,
    "size": (
        lambda value: isinstance(value, list) and len(value) == 2 and all(_whole(side, 1) for side in value),
        "two whole numbers, rows and columns",
    ),
    "sha256": (lambda value: isinstance(value, str) and bool(_DIGEST.fullmatch(value)), "64 hexadecimal digits"),
}
ENTRY_OPTIONAL: Mapping[str, Check] = {
    "mask": PLACE,
    "fold": COUNT,
    "plane": (lambda value: value in PLANES, f"one of {', '.join(PLANES)}"),
}
TOP_REQUIRED: Mapping[str, Check] = {
    "numClasses": (lambda value: _whole(value, 2), "a whole number from 2"),
    "group_rule": TEXT,
    **{f"num{split.capitalize()}": COUNT for split in SPLITS},
    **{split: (lambda value: isinstance(value, list), "a list") for split in SPLITS},
}


def check_format(datalist: Any, name: str) -> None:
    """Checks the form of a datalist, not whether it leaks.

    Args:
        datalist: What was read from JSON.
        name: File, for messages.

    Raises:
        ValueError: Something is missing or of another kind; the message names file, split, number of the entry
            (from 0) and field.
    """
    if not isinstance(datalist, dict):
        raise ValueError(f"{name}: expected a JSON object, got {_shown(datalist)}")
    if datalist.get("format") != FORMAT:
        raise ValueError(f"{name}: format is {_shown(datalist.get('format'))}, this version reads {FORMAT!r}")
    _check_fields(datalist, TOP_REQUIRED, {}, name)
    label = _label_check(datalist, name)
    for split in SPLITS:
        entries, count = datalist[split], datalist[f"num{split.capitalize()}"]
        if len(entries) != count:
            raise ValueError(f"{name}: num{split.capitalize()} is {count}, but {split} has {len(entries)} entries")
        seen: set[str] = set()
        for number, entry in enumerate(entries):
            place = f"{name}: {split}, entry {number}"
            if not isinstance(entry, dict):
                raise ValueError(f"{place}: expected an object, got {_shown(entry)}")
            _check_fields(entry, {**ENTRY_REQUIRED, "label": label}, ENTRY_OPTIONAL, place)
            if entry["id"] in seen:
                raise ValueError(f"{place}: id {entry['id']!r} stands twice in {split}")
            seen.add(entry["id"])


def class_names(datalist: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the K classes of a datalist, in the order of its labels; the three where it has no ``classes``.

    Args:
        datalist: As ``read_datalist`` gives it.
    """
    return tuple(datalist.get("classes", CLASSES))


def _label_check(datalist: Mapping[str, Any], name: str) -> Check:
    """The check of a label of this datalist; refuses names of classes that are none, or another number of them."""
    classes, count = datalist.get("classes", list(CLASSES)), datalist["numClasses"]
    if not isinstance(classes, list) or not all(isinstance(one, str) for one in classes):
        raise ValueError(f"{name}: classes is {_shown(classes)}, expected a list of names")
    if len(classes) != count:
        given = "" if "classes" in datalist else " (classes is missing)"
        raise ValueError(f"{name}: numClasses is {count}, expected {len(classes)}: {', '.join(classes)}{given}")
    try:
        check_classes(classes)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return lambda value: _whole(value) and value < count, f"a whole number 0 .. {count - 1}"


def _check_fields(
    fields: Mapping[str, Any], required: Mapping[str, Check], optional: Mapping[str, Check], place: str
) -> None:
    for field, (accepts, allowed) in {**required, **optional}.items():
        if field not in fields:
            if field in required:
                raise ValueError(f"{place}: {field} is missing")
        elif not accepts(fields[field]):
            raise ValueError(f"{place}: {field} is {_shown(fields[field])}, expected {allowed}")


def _shown(value: Any) -> str:
    """A value as a message shows it, cut to a length that a line can hold."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
