"""Class names and planes as people write them, in tables and as names of folders."""

import re
from collections.abc import Sequence

from kdmri_monai.data.taxonomy import CLASSES, PLANES

_CLASS_WORDS = {"meningioma": 0, "glioma": 1, "pituitary": 2}
_TUMOUR_WORDS = ("tumor", "tumour", "tumors", "tumours")
_PLANE_WORDS = {
    "axial": "axial", "ax": "axial", "a": "axial", "transverse": "axial", "transversal": "axial",
    "coronal": "coronal", "cor": "coronal", "c": "coronal",
    "sagittal": "sagittal", "sag": "sagittal", "s": "sagittal",
}  # fmt: skip
_RESERVED = "all"  # the sum, where tables go by class
_LONGEST = 60
_WORD = r"\(?[^\W_](?:(?:[^\W_]|[.+()-])*(?:[^\W_]|[+)]))?"
_NAME = re.compile(f"{_WORD}(?: {_WORD})*")


def spelt_class(text: str) -> str:
    """A name as tables and pictures show it: underscores are spaces, of which there is one between two words."""
    return " ".join(text.replace("_", " ").split())


def check_classes(classes: Sequence[str]) -> None:
    """Refuses names that a column, a metric or a table of results could not bear, and names that cannot be told apart.

    Args:
        classes: Names of the K classes, in the order of their labels.

    Raises:
        ValueError: Fewer than two, a name that is not allowed, or two that differ in case or separators alone.
    """
    if len(classes) < 2:
        raise ValueError(f"classes are {', '.join(classes) or 'none'}: at least two are needed")
    for name in classes:
        if len(name) > _LONGEST or not _NAME.fullmatch(name) or name.casefold() == _RESERVED:
            raise ValueError(
                f"class {name!r} is not allowed: a name has letters and digits, with single spaces and . + - ( ) "
                f"within, at most {_LONGEST} characters, and is not {_RESERVED!r}"
            )
    first: dict[str, int] = {}
    for place, name in enumerate(classes):
        if (same := first.setdefault(_core(name), place)) != place:
            raise ValueError(f"classes {classes[same]!r} and {name!r} differ in nothing but case or separators")


def class_of_name(text: str, classes: Sequence[str] = CLASSES) -> int | None:
    """The class that a name stands for, ``None`` where it is none of them.

    Case and separators do not matter. Of the three tumours a plural and the word tumour, in both spellings, do not
    matter either: ``Pituitary_tumor``, ``pituitary``, ``Gliomas``, ``meningioma-tumour``.

    Args:
        text: Name of a folder, or a label.
        classes: Names of the K classes.

    Returns:
        Class 0..K-1.
    """
    if tuple(classes) != CLASSES:
        found = [label for label, name in enumerate(classes) if _core(name) == _core(text)]
        return found[0] if found else None
    core = [word for word in _core(text).replace("+", " ").split() if word not in _TUMOUR_WORDS]
    if len(core) != 1:
        return None
    return _CLASS_WORDS.get(core[0], _CLASS_WORDS.get(core[0].removesuffix("s")))


def parse_label(text: str, classes: Sequence[str] = CLASSES) -> int:
    """The class of a table cell: a name, or 1..K as the Figshare files number their three.

    Where a class is itself called by a number (``grade`` 2, 3 and 4), a number is a name and nothing else.

    Args:
        text: The cell.
        classes: Names of the K classes.

    Returns:
        Class 0..K-1.

    Raises:
        ValueError: Neither; the message says what was got and what is allowed.
    """
    value = text.strip()
    label = class_of_name(value, classes)
    if label is not None:
        return label
    named = ", ".join(classes)
    if any(name.isdecimal() for name in classes):
        raise ValueError(f"is {value!r}, allowed are {named}")
    if value not in {str(number + 1) for number in range(len(classes))}:
        raise ValueError(f"is {value!r}, allowed are 1..{len(classes)} or {named}")
    return int(value) - 1


def parse_plane(text: str) -> str | None:
    """The plane of a table cell, ``None`` for an empty one.

    Args:
        text: The cell; a name, its first letter or its usual short form.

    Returns:
        One of ``taxonomy.PLANES``.

    Raises:
        ValueError: Another word.
    """
    value = text.strip().casefold()
    if value and value not in _PLANE_WORDS:
        raise ValueError(f"is {text.strip()!r}, allowed are {', '.join(PLANES)} or nothing")
    return _PLANE_WORDS.get(value)


def _core(text: str) -> str:
    """Words of letters and digits, and signs that tell grades apart (``2+``), in lower case."""
    return " ".join(word for word in re.split(r"[^\w+]+|_", text.casefold()) if word)
