"""The journal of a preparation: one JSON line for the start, the listing, every item read, and the end.

It is what makes an interrupted preparation go on, and what lets a prepared folder be split again without reading the
source again. Nothing in it depends on when, where or by how many processes the source was read.
"""

import fcntl
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdmri_monai.data.errors import BadSourceError
from kdmri_monai.data.findings import Finding, Remark
from kdmri_monai.data.records import SliceRecord

FORMAT = "kdmri-journal-1"


@dataclass
class JournalState:
    """What a journal says, up to its last whole line.

    Attributes:
        fingerprint: Of source and options; ``None`` for a journal without a first line.
        items: Items that are done.
        records: Slices that the store holds, by row.
        skipped: Findings of the listing and of items.
        remarks: Likewise.
        listed: Whether the findings of the listing are in it.
        finished: Whether all items are done.
    """

    fingerprint: str | None = None
    items: int = 0
    records: list[SliceRecord] = field(default_factory=list)
    skipped: list[Finding] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    listed: bool = False
    finished: bool = False

    def take(self, line: dict[str, Any]) -> None:
        """Add what one line says."""
        if "format" in line:
            self.fingerprint = line["fingerprint"]
            return
        self.finished = self.finished or "finished" in line
        self.listed = self.listed or "listing" in line
        self.items += "item" in line
        self.records += map(record_from_dict, line.get("slices", ()))
        self.skipped += (Finding(**finding) for finding in line.get("skipped", ()))
        self.remarks += (Remark(**remark) for remark in line.get("remarks", ()))


class Journal:
    """The file, open and locked: one preparation at a time works on a folder.

    Args:
        path: File; made where it does not exist.

    Raises:
        BadSourceError: Another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            raise BadSourceError(f"{path.parent.parent}: another preparation is writing to this folder") from error

    def close(self) -> None:
        """Close the file and let go of the lock."""
        os.close(self._descriptor)

    def lines(self) -> list[tuple[int, dict[str, Any]]]:
        """Whole lines with the offset of the byte behind each; a last line that was cut off is left out."""
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            content = file.read()
        found, offset = [], 0
        for raw in content.splitlines(keepends=True):
            try:
                line = json.loads(raw)
            except ValueError:
                break
            if not raw.endswith(b"\n") or not isinstance(line, dict):
                break
            offset += len(raw)
            found.append((offset, line))
        return found

    def cut(self, offset: int) -> None:
        """Drop what lies behind an offset."""
        os.ftruncate(self._descriptor, offset)

    def append(self, line: dict[str, Any]) -> None:
        """Add one line.

        Raises:
            OSError: It cannot be written; the part that was is dropped when the journal is read.
        """
        os.lseek(self._descriptor, 0, os.SEEK_END)
        data = memoryview(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(self.path)) from error


def item_line(
    number: int,
    records: Sequence[SliceRecord],
    mask_crcs: Sequence[int],
    skipped: Sequence[Finding],
    remarks: Sequence[Remark],
) -> dict[str, Any]:
    """The line for an item that is done; empty parts are left out.

    Args:
        number: Place of the item in the listing.
        records: Slices that the store took.
        mask_crcs: CRC-32 of the mask row of each, as the store holds it.
        skipped: What was not taken.
        remarks: What was said.
    """
    parts: dict[str, Sequence[Any]] = {
        "slices": [vars(record) for record in records],
        "mask_crcs": mask_crcs,
        "skipped": [finding.as_dict() for finding in skipped],
        "remarks": [remark.as_dict() for remark in remarks],
    }
    return {"item": number, **{name: part for name, part in parts.items() if part}}


def record_from_dict(fields: dict[str, Any]) -> SliceRecord:
    """A record from its fields, as JSON gives them back.

    Args:
        fields: All fields, tuples as lists.
    """
    border = fields["border"]
    size = (fields["size"][0], fields["size"][1])
    return SliceRecord(**{**fields, "size": size, "border": None if border is None else tuple(border)})
