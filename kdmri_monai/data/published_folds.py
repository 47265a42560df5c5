"""Folds that somebody else published: ``cvind.mat`` of the Figshare set, a line of digits, or a table."""

import csv
import hashlib
import io
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdmri_monai.data.errors import BadSourceError

_MOST_BYTES = 64 * 2**20  # a fold file of 3,064 slices has 26 KB
_UNREADABLE = (OSError, LookupError, TypeError, ValueError, AttributeError, RuntimeError, zlib.error)


@dataclass(frozen=True)
class PublishedFolds:
    """A fold file.

    Attributes:
        fold: Slice id to fold, counted from 0: fold 0 is fold 1 of the file.
        sizes: Slices of every fold in the file.
        name: File name.
        sha256: Digest of the file, 64 hexadecimal digits.
    """

    fold: dict[str, int]
    sizes: tuple[int, ...]
    name: str
    sha256: str


def read_published_folds(path: Path) -> PublishedFolds:
    """Folds of a file.

    Args:
        path: One of: a MATLAB file (version 7.3, which is HDF5, or older) with the array ``cvind`` of N folds, slice
            number i at place i - 1; a text of N digits, one a slice, blanks and line ends ignored; a CSV table with
            the columns ``id`` and ``fold``. Folds count from 1 in all of them.

    Returns:
        The folds; ids of the first two forms are the slice numbers "1" .. "N".

    Raises:
        FileNotFoundError: There is no such file.
        BadSourceError: The file has none of these forms, or its folds are not 1 .. k with a slice in each.
    """
    path = Path(path)
    if path.stat().st_size > _MOST_BYTES:
        raise BadSourceError(f"{path}: {path.stat().st_size} bytes, a fold file has {_MOST_BYTES} at most")
    content = path.read_bytes()
    if content.startswith(b"MATLAB") or b"\x89HDF\r\n\x1a\n" in content[:1024]:
        folds = _numbered(path, _cvind(path, content))
    else:
        folds = _text_folds(path, content)
    counts = Counter(folds.values())
    if set(counts) != set(range(1, len(counts) + 1)):
        raise BadSourceError(f"{path}: folds are {sorted(counts)[:20]}, they have to be 1 .. k with a slice in each")
    sizes = tuple(counts[number] for number in sorted(counts))
    zero_based = {slice_id: fold - 1 for slice_id, fold in folds.items()}
    return PublishedFolds(zero_based, sizes, path.name, hashlib.sha256(content).hexdigest())


def crossing_families(
    fold: Mapping[str, int], slices: Sequence[tuple[str, str, str]]
) -> tuple[set[str], set[str], set[str]]:
    """Slices, patients and families of the families that lie in more than one fold.

    Args:
        fold: Slice id to fold.
        slices: Slice id, patient and family of every slice.

    Returns:
        Their slice ids, their patients and their names.
    """
    folds_of: dict[str, set[int]] = {}
    for slice_id, _, family in slices:
        folds_of.setdefault(family, set()).add(fold[slice_id])
    crossing = {family for family, folds in folds_of.items() if len(folds) > 1}
    rows = [row for row in slices if row[2] in crossing]
    return {row[0] for row in rows}, {row[1] for row in rows}, crossing


def _cvind(path: Path, content: bytes) -> NDArray[Any]:
    """The array of a MATLAB file."""
    import h5py  # here: h5py and SciPy are slow to start
    from scipy.io import loadmat

    try:
        if content.startswith(b"MATLAB 5.0"):
            return np.asarray(loadmat(io.BytesIO(content), variable_names=["cvind"])["cvind"])
        with h5py.File(io.BytesIO(content), "r") as file:
            values = file["cvind"][()]  # a group has no values: AttributeError, ValueError or TypeError
            return np.asarray(values)
    except _UNREADABLE as error:
        raise BadSourceError(f"{path}: the array cvind cannot be read: {error}") from error


def _numbered(path: Path, values: NDArray[Any]) -> dict[str, int]:
    """Slice number to fold, of an array with one dimension longer than 1."""
    if values.size == 0 or values.size != max(values.shape, default=0) or values.dtype.kind not in "fiu":
        raise BadSourceError(
            f"{path}: cvind is {values.dtype} of shape {values.shape}, expected numbers (1, N) or (N, 1)"
        )
    flat = values.ravel().astype(np.float64)
    bad = np.flatnonzero((flat != np.round(flat)) | (flat < 1) | (flat > flat.size))
    if bad.size:
        raise BadSourceError(f"{path}: fold of slice {bad[0] + 1} is {flat[bad[0]]:g}, expected a whole number from 1")
    return {str(place + 1): int(fold) for place, fold in enumerate(flat)}


def _text_folds(path: Path, content: bytes) -> dict[str, int]:
    """Folds of a line of digits, or of a table."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadSourceError(f"{path}: neither a MATLAB file nor text: {error}") from error
    digits = "".join(text.split())
    if digits.isascii() and digits.isdigit():
        return _numbered(path, np.array([int(digit) for digit in digits]))
    return _table_folds(path, text)


def _table_folds(path: Path, text: str) -> dict[str, int]:
    """Slice id to fold, of a CSV table."""
    table = csv.DictReader(io.StringIO(text, newline=""))
    if not {"id", "fold"} <= set(table.fieldnames or ()):
        raise BadSourceError(f"{path}: expected cvind, digits only, or a table with the columns id and fold")
    folds: dict[str, int] = {}
    for row in table:
        slice_id, fold = (row["id"] or "").strip(), (row["fold"] or "").strip()
        if not slice_id or slice_id in folds:
            raise BadSourceError(f"{path}, line {table.line_num}: id {slice_id!r} is empty or there twice")
        if not (fold.isascii() and fold.isdigit() and int(fold) >= 1):
            raise BadSourceError(f"{path}, line {table.line_num}: fold is {fold!r}, expected a whole number from 1")
        folds[slice_id] = int(fold)
    if not folds:
        raise BadSourceError(f"{path}: the table has no rows")
    return folds
