"""Class names and planes as people write them, in tables and as names of folders."""

import re

from kdmri_monai.data.taxonomy import CLASSES, PLANES

_CLASS_WORDS = {"meningioma": 0, "glioma": 1, "pituitary": 2}
_PLANE_WORDS = {
    "axial": "axial", "ax": "axial", "a": "axial", "transverse": "axial", "transversal": "axial",
    "coronal": "coronal", "cor": "coronal", "c": "coronal",
    "sagittal": "sagittal", "sag": "sagittal", "s": "sagittal",
}  # fmt: skip


def class_of_name(text: str) -> int | None:
    """The class that a name stands for, ``None`` where it is none of the three.

    Case, separators, a plural and the word tumour, in both spellings, do not matter: ``Pituitary_tumor``,
    ``pituitary``, ``Gliomas``, ``meningioma-tumour``.

    Args:
        text: Name of a folder, or a label.

    Returns:
        Class 0..2.
    """
    words = [word for word in re.split(r"[\W_]+", text.casefold()) if word]
    core = [word for word in words if word not in ("tumor", "tumour", "tumors", "tumours")]
    if len(core) != 1:
        return None
    return _CLASS_WORDS.get(core[0], _CLASS_WORDS.get(core[0].removesuffix("s")))


def parse_label(text: str) -> int:
    """The class of a table cell: a name, or 1..3 as the Figshare files number them.

    Args:
        text: The cell.

    Returns:
        Class 0..2.

    Raises:
        ValueError: Neither; the message says what was got and what is allowed.
    """
    value = text.strip()
    if value in {str(number + 1) for number in range(len(CLASSES))}:
        return int(value) - 1
    label = class_of_name(value)
    if label is None:
        raise ValueError(f"is {value!r}, allowed are 1..{len(CLASSES)} or {', '.join(CLASSES)}")
    return label


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
