"""What every kind of source offers to the reading: items that give slices, in an order that never changes."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kdmri_monai.data.findings import Finding, Remark
from kdmri_monai.data.records import RawSlice


class SliceItem(Protocol):
    """One file, member or table row; small and picklable, it is read in another process."""

    @property
    def name(self) -> str:
        """Where the slices come from, for people."""

    @property
    def image_field(self) -> str:
        """The part that holds the pixels, for messages, e.g. ``cjdata/image``."""

    def slices(self) -> Iterator[RawSlice | Finding | Remark]:
        """Slices in order, a finding for each that is bad, remarks; ``BadSliceError`` where the whole item is bad."""


@dataclass(frozen=True)
class Listing:
    """What a source holds.

    Attributes:
        items: In the order of the store.
        skipped: What is not read: a truncated archive, a row without a label, a folder ``notumor``.
        remarks: What the user should know of data that is kept.
    """

    items: Sequence[SliceItem]
    skipped: tuple[Finding, ...] = ()
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True)
class Source:
    """A source that was recognised, not yet read.

    Attributes:
        kind: What it is, for people.
        path: What the user named.
        files: Files whose names, sizes and times decide whether it is the same source as before.
        list_items: Gives the listing; its argument is a scratch folder for archives that cannot be read in place.
        batch: Items that a worker gets at a time.
    """

    kind: str
    path: Path
    files: tuple[Path, ...]
    list_items: Callable[[Path], Listing]
    batch: int = 8


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts ``9`` before ``10``, the same everywhere and never equal for two texts."""
    runs = ((part, part.lstrip("0")) for part in re.split(r"([0-9]+)", text) if part)
    key = [(0, len(digits), digits) if part[0] in "0123456789" else (1, 0, part) for part, digits in runs]
    return (*key, (-1, 0, text))


def files_below(root: Path, suffixes: Sequence[str]) -> list[Path]:
    """Files of some kinds in a folder, at any depth, in natural order.

    Hidden files and folders, resource forks (``._1.mat``) and links to folders are passed over.

    Args:
        root: Folder.
        suffixes: Endings in lower case, e.g. ``.nii.gz``.
    """
    endings = tuple(suffixes)
    found = [
        path
        for path in root.rglob("*")
        if path.name.lower().endswith(endings)
        and not any(part.startswith((".", "__MACOSX")) for part in path.relative_to(root).parts)
        and path.is_file()
    ]
    return sorted(found, key=lambda path: natural_key(path.relative_to(root).as_posix()))


def readable_name(path: Path, root: Path) -> str:
    """Name of a file for people: its path from the root, with what cannot be printed escaped."""
    return printable(path.relative_to(root).as_posix())


def printable(text: str) -> str:
    """A text from a file system, with what cannot be printed escaped."""
    return text if text.isprintable() else ascii(text)[1:-1]
