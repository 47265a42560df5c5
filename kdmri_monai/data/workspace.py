"""The folder ``OUT/.prepare``: journal and unfinished store, and how they become a dataset folder.

Pixels are written before the journal line that speaks of them, so that at any moment the journal describes rows that
are there. When a preparation goes on, every row is compared with its digest in the journal; from the first that differs
(the power failed, say) reading starts again.
"""

import hashlib
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from kdmri_monai.data.errors import BadSourceError
from kdmri_monai.data.findings import Finding
from kdmri_monai.data.journal import FORMAT, Journal, JournalState, item_line
from kdmri_monai.data.reading import ItemResult, PreparedSlice
from kdmri_monai.data.records import SliceRecord
from kdmri_monai.data.store import IMAGES, MASKS, RowFile, npy_header

FOLDER, BORDERS, DATALIST = ".prepare", "borders.json", "datalist.json"


class Workspace:
    """A dataset folder while it is prepared; one process at a time holds it.

    Args:
        out: The dataset folder; made where it does not exist.
        size: Side ``S`` of the stored images.

    Attributes:
        expected: Items of the source, once they are listed; 0 before.

    Raises:
        BadSourceError: Another process holds it.
    """

    def __init__(self, out: Path, size: int) -> None:
        self.out, self.size, self.folder = out, size, out / FOLDER
        self.scratch = self.folder / "scratch"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.journal = Journal(self.folder / "records.jsonl")
        self.expected = 0
        self._rows: dict[str, RowFile] = {}

    def __enter__(self) -> "Workspace":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_rows()
        self.drop_scratch()
        self.journal.close()

    def resume(self, fingerprint: str, overwrite: bool) -> JournalState:
        """What was done before; a new journal where nothing was.

        Args:
            fingerprint: Of source and options.
            overwrite: Drop what is of another source, of other options, or damaged.

        Raises:
            BadSourceError: It is, and may not be dropped.
        """
        try:
            return self._resume(fingerprint)
        except BadSourceError:
            if not overwrite:
                raise
        self._clear()
        return self._resume(fingerprint)

    def add(self, number: int, slices: list[PreparedSlice], result: ItemResult, state: JournalState) -> None:
        """Store what an item gave, pixels first.

        Args:
            number: Place of the item in the listing.
            slices: Those of its slices that are kept.
            result: For what was skipped and said.
            state: Taken further.

        Raises:
            OSError: A file cannot be written; what was stored before is kept.
        """
        records: list[SliceRecord] = []
        crcs: list[int] = []
        for entry in slices:
            index = len(state.records) + len(records)
            self._part(IMAGES).write(index, entry.pixels)
            mask = _mask_row(entry.mask, self.size)
            if entry.mask is not None:
                self._part(MASKS).write(index, mask)
            records.append(SliceRecord(**{**vars(entry.record), "index": index}))
            crcs.append(zlib.crc32(mask))
        self._log(item_line(number, records, crcs, result.skipped, result.remarks), state)

    def note_listing(self, skipped: Iterable[Finding], remarks: Iterable[Any], state: JournalState) -> None:
        """Put into the journal what was found before anything was read."""
        parts = {"skipped": [entry.as_dict() for entry in skipped], "remarks": [entry.as_dict() for entry in remarks]}
        self._log({"listing": True, **parts}, state)

    def finish(self, state: JournalState) -> None:
        """Say in the journal that every item is done."""
        self._log({"finished": state.items}, state)

    def seal(self, state: JournalState) -> None:
        """Put the store in its place; does nothing where it is there. Images come last: with them it is complete.

        Args:
            state: All records.

        Raises:
            OSError: The disk does not take it.
        """
        parts = [name for name in (MASKS, IMAGES) if (self.folder / f"{name}.part").exists()]
        for name in parts:
            self._part(name).seal(len(state.records))
        for name in parts:
            (self.folder / f"{name}.part").replace(self.out / name)
        self._close_rows()

    def drop_scratch(self) -> None:
        """Remove copies of archives."""
        if self.scratch.is_dir():
            for copy in self.scratch.iterdir():
                copy.unlink()
            self.scratch.rmdir()

    def _resume(self, fingerprint: str) -> JournalState:
        lines = self.journal.lines()
        if not lines or lines[0][1].get("format") != FORMAT:
            if any((self.out / name).exists() for name in (IMAGES, MASKS, DATALIST)):
                raise BadSourceError(f"{self.out}: was filled by other means, or its {FOLDER} is gone; {_CHOICES}")
            return self._start(fingerprint)
        if lines[0][1]["fingerprint"] != fingerprint:
            raise BadSourceError(f"{self.out}: was prepared from another source or with other options; {_CHOICES}")
        if "finished" in lines[-1][1] and not (self.folder / f"{IMAGES}.part").exists():
            return self._sealed(lines)
        return self._continued(lines)

    def _clear(self) -> None:
        """Drop all that an earlier preparation left, the datalist first: it never points at pixels of another."""
        for name in (DATALIST, BORDERS, IMAGES, MASKS):
            (self.out / name).unlink(missing_ok=True)
        self.journal.cut(0)

    def _start(self, fingerprint: str) -> JournalState:
        self.journal.cut(0)
        for name in (IMAGES, MASKS):
            (self.folder / f"{name}.part").unlink(missing_ok=True)
        self.journal.append({"format": FORMAT, "fingerprint": fingerprint})
        return JournalState(fingerprint)

    def _sealed(self, lines: list[tuple[int, dict[str, Any]]]) -> JournalState:
        """The state of a preparation whose store is in its place."""
        state = JournalState()
        for _, line in lines:
            state.take(line)
        if damaged := damaged_part(self.out, state.records, self.size):
            raise BadSourceError(f"{self.out}: {damaged} is gone or damaged; {_CHOICES}")
        return state

    def _continued(self, lines: list[tuple[int, dict[str, Any]]]) -> JournalState:
        """The state up to the first line whose rows the store does not hold; the rest is dropped."""
        state, end = JournalState(), 0
        masks = self.folder / f"{MASKS}.part"
        if (self.out / MASKS).exists() and not masks.exists():  # ended between the two moves of ``seal``
            (self.out / MASKS).replace(masks)
        for offset, line in lines:
            if not self._holds(line):
                break
            state.take(line)
            end = offset
        self.journal.cut(end)
        for name in (IMAGES, MASKS):
            if (self.folder / f"{name}.part").exists():
                self._part(name).cut(len(state.records))
        return state

    def _holds(self, line: dict[str, Any]) -> bool:
        for record, crc in zip(line.get("slices", ()), line.get("mask_crcs", ()), strict=True):
            if hashlib.sha256(self._part(IMAGES).read(record["index"])).hexdigest() != record["sha256"]:
                return False
            if record["has_mask"] and zlib.crc32(self._part(MASKS).read(record["index"])) != crc:
                return False
        return True

    def _part(self, name: str) -> RowFile:
        if name not in self._rows:
            self._rows[name] = RowFile(self.folder / f"{name}.part", self.size)
        return self._rows[name]

    def _log(self, line: dict[str, Any], state: JournalState) -> None:
        self.journal.append(line)
        state.take(line)

    def _close_rows(self) -> None:
        for rows in self._rows.values():
            rows.close()
        self._rows.clear()


_CHOICES = "choose another folder, or overwrite it"


def damaged_part(out: Path, records: Sequence[SliceRecord], size: int) -> str | None:
    """The first file of a finished store that is not there at its full size.

    Args:
        out: Dataset folder.
        records: All slices of the store.
        size: Side ``S`` of the stored images.
    """
    needed = len(npy_header(0, size)) + len(records) * size * size
    names = (IMAGES, MASKS) if any(record.has_mask for record in records) else (IMAGES,) if records else ()
    for name in names:
        if not (out / name).is_file() or (out / name).stat().st_size != needed:
            return name
    return None


def _mask_row(packed: bytes | None, size: int) -> bytes:
    """One byte a pixel, from one bit a pixel; zeros where there is no mask."""
    if packed is None:
        return bytes(size * size)
    return np.unpackbits(np.frombuffer(packed, np.uint8), count=size * size).tobytes()
