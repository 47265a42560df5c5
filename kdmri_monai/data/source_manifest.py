"""A table of pictures, volumes, series: CSV or TSV with ``path``, ``label``, ``patient``; ``mask``, ``plane``, ``id``.

The last three columns may be absent or empty. Paths are relative to the table or absolute; labels are names or 1..K. A
row of a picture gives one slice, a row of a volume gives its slices along ``plane`` (axial where it is empty), a row of
a DICOM file or of the folder of a series its slices as they were taken.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kdmri_monai.data import source_dicom, source_nifti, source_pictures
from kdmri_monai.data.class_names import parse_label, parse_plane
from kdmri_monai.data.dicom_series import SUFFIXES as DICOM_SUFFIXES
from kdmri_monai.data.errors import BadSliceError, BadSourceError
from kdmri_monai.data.findings import Finding
from kdmri_monai.data.limits import ReadLimits
from kdmri_monai.data.source_contract import Listing, Source, printable
from kdmri_monai.data.source_dicom import DicomSource, series_files
from kdmri_monai.data.source_nifti import Volume
from kdmri_monai.data.source_pictures import Picture
from kdmri_monai.data.taxonomy import CLASSES

NAMES = ("labels.csv", "labels.tsv", "manifest.csv", "manifest.tsv")
"""What a table inside a folder is called; only the folder itself is searched."""
REQUIRED, OPTIONAL = ("path", "label", "patient"), ("mask", "plane", "id")
_MAX_ROWS = 5_000_000


@dataclass(frozen=True)
class Row:
    """Cells of one line, by column; absent ones are empty."""

    line: int
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "")


def recognise_manifest(path: Path, limits: ReadLimits, classes: Sequence[str] = CLASSES) -> Source | None:
    """A ``.csv`` or ``.tsv`` file, or a folder that holds one of ``NAMES``.

    Args:
        path: What the user named.
        limits: What files may ask for.
        classes: Names of the K classes.

    Returns:
        The source, or ``None`` where there is no table.

    Raises:
        BadSourceError: Two tables in one folder; the table is not text, lacks a column, or has no rows.
    """
    table = find_table(path)
    if table is None:
        return None
    rows = read_table(table)
    named = [table.parent / row[column] for row in rows for column in ("path", "mask") if row[column]]
    found = [file for path in dict.fromkeys(named) for file in (series_files(path) if path.is_dir() else [path])]
    files = (table, *found)
    large = any(path.name.lower().endswith(source_nifti.SUFFIXES) or path.is_dir() for path in named)
    batch = 1 if large else 8
    return Source("a table of files", path, files, partial(_list_rows, table, rows, limits, tuple(classes)), batch)


def find_table(path: Path) -> Path | None:
    """The table that a path is or holds, ``None`` where there is none.

    Raises:
        BadSourceError: Two tables in one folder.
    """
    if path.is_dir():
        tables = [path / name for name in NAMES if (path / name).is_file()]
    else:
        tables = [path] if path.suffix.lower() in (".csv", ".tsv") else []
    if len(tables) > 1:
        raise BadSourceError(
            f"{path}: more than one table, {' and '.join(t.name for t in tables)}; name the one to use"
        )
    return tables[0] if tables else None


def read_table(table: Path) -> list[Row]:
    """Rows of a CSV or TSV file; columns by name, whatever their order and case; blank lines are passed over.

    Args:
        table: File; tabs for ``.tsv``, else the more frequent of comma and semicolon in the first line.

    Raises:
        BadSourceError: Not UTF-8 text, no rows, a column that is required is missing or stands twice.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            separator = "\t" if table.suffix.lower() == ".tsv" else max(",;", key=first.count)
            lines = csv.reader(file, delimiter=separator, strict=True)
            header = [cell.strip().casefold() for cell in next(lines, [])]
            _check_header(table, header)
            rows = [
                Row(lines.line_num, dict(zip(header, map(str.strip, cells), strict=False)))
                for cells in lines
                if any(cell.strip() for cell in cells)
            ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadSourceError(f"{table}: is not a readable table: {error}") from error
    if not 0 < len(rows) <= _MAX_ROWS:
        raise BadSourceError(f"{table}: has {len(rows):,} rows, 1 to {_MAX_ROWS:,} are allowed")
    return rows


def _check_header(table: Path, header: list[str]) -> None:
    needed = f"needed are {', '.join(REQUIRED)}; {', '.join(OPTIONAL)} may follow"
    missing = [column for column in REQUIRED if column not in header]
    if missing:
        got = ", ".join(header) or "none"
        raise BadSourceError(f"{table}: has no column {', '.join(missing)} (columns are: {got}); {needed}")
    twice = [column for column in (*REQUIRED, *OPTIONAL) if header.count(column) > 1]
    if twice:
        raise BadSourceError(f"{table}: column {twice[0]} stands twice; {needed}")


def _list_rows(table: Path, rows: list[Row], limits: ReadLimits, classes: tuple[str, ...], scratch: Path) -> Listing:
    items: list[Picture | Volume | DicomSource] = []
    skipped: list[Finding] = []
    for row in rows:
        try:
            items.append(_item(table, row, limits, classes))
        except BadSliceError as error:
            skipped.append(Finding.of(error))
    return Listing(items, tuple(skipped))


def _item(table: Path, row: Row, limits: ReadLimits, classes: Sequence[str]) -> Picture | Volume | DicomSource:
    name = f"{table.name} line {row.line}" + (f" ({printable(row['path'])})" if row["path"] else "")
    for column in REQUIRED:
        if not row[column]:
            raise BadSliceError(name, column, "is empty")
    for column in (*REQUIRED, *OPTIONAL):
        if not row[column].isprintable():
            raise BadSliceError(name, column, f"is {row[column]!r}, printable characters are expected")
    label, plane = _parsed(name, row, classes)
    path, mask = str(table.parent / row["path"]), str(table.parent / row["mask"]) if row["mask"] else None
    lower = row["path"].lower()
    slice_id, origin = row["id"] or row["path"], f"{table.name}, column patient"
    if lower.endswith(source_pictures.SUFFIXES):
        return Picture(path, row["path"], slice_id, label, row["patient"], origin, limits, mask, plane)
    if lower.endswith(source_nifti.SUFFIXES):
        return Volume(path, row["path"], slice_id, label, row["patient"], origin, limits, mask, plane)
    if source_dicom.is_source(Path(path)):
        if mask is not None:
            raise BadSliceError(name, "mask", "is not read for DICOM, whose slices have no grid in common with a file")
        return DicomSource(path, row["path"], slice_id, label, row["patient"], origin, limits, plane)
    allowed = ", ".join((*source_pictures.SUFFIXES, *source_nifti.SUFFIXES, *DICOM_SUFFIXES))
    raise BadSliceError(name, "path", f"is no folder, and ends in none of {allowed}")


def _parsed(name: str, row: Row, classes: Sequence[str]) -> tuple[int, str | None]:
    try:
        label = parse_label(row["label"], classes)
    except ValueError as error:
        raise BadSliceError(name, "label", str(error)) from error
    try:
        return label, parse_plane(row["plane"])
    except ValueError as error:
        raise BadSliceError(name, "plane", str(error)) from error
