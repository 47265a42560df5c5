"""Unpacked ``cjdata`` files, in any folder depth."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kdmri_monai.data.cjdata import IMAGE, read_cjdata
from kdmri_monai.data.errors import BadSliceError
from kdmri_monai.data.findings import Finding
from kdmri_monai.data.limits import ReadLimits
from kdmri_monai.data.records import RawSlice
from kdmri_monai.data.source_contract import Listing, Source, files_below, natural_key, printable, readable_name
from kdmri_monai.data.source_figshare import is_slice_file


@dataclass(frozen=True)
class MatFile:
    """One ``.mat`` file."""

    path: str
    name: str
    limits: ReadLimits

    @property
    def image_field(self) -> str:
        """As ``cjdata`` names it."""
        return IMAGE

    def slices(self) -> Iterator[RawSlice | Finding]:
        """The one slice; its id is the name of the file without ending."""
        data = read_file(Path(self.path), self.name, self.limits.member_bytes)
        yield read_cjdata(data, self.name, printable(Path(self.path).stem), self.limits)


def recognise_mat_files(path: Path, limits: ReadLimits) -> Source | None:
    """A ``.mat`` file, or a folder with such at any depth; ``cvind.mat`` is not one of them.

    Args:
        path: What the user named.
        limits: Largest file and image.

    Returns:
        The source, or ``None``.
    """
    if path.is_dir():
        files, root = files_below(path, [".mat"]), path
    else:
        files, root = [path] if path.suffix.lower() == ".mat" else [], path.parent
    files = [file for file in files if is_slice_file(file.name)]
    if not files:
        return None
    return Source("cjdata files", path, tuple(files), partial(_list_files, tuple(files), root, limits), batch=16)


def read_file(path: Path, name: str, most: int) -> bytes:
    """All of a file, provided it is not too large.

    Args:
        path: File.
        name: Name for people.
        most: Largest size, bytes; at most one byte more is read.

    Raises:
        BadSliceError: Missing, unreadable, empty, larger than allowed.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size  # 0 for a pipe; read() sets aside what it is asked for
            data = file.read(min(most, size or most) + 1)
    except OSError as error:
        raise BadSliceError(name, "file", f"cannot be read: {error.strerror}") from error
    if not data:
        raise BadSliceError(name, "file", "is empty")
    if len(data) > most:
        raise BadSliceError(name, "file", f"is larger than the {most:,} bytes allowed")
    return data


def _list_files(files: tuple[Path, ...], root: Path, limits: ReadLimits, scratch: Path) -> Listing:
    items = [MatFile(str(file), readable_name(file, root), limits) for file in files]
    items.sort(key=lambda item: (natural_key(Path(item.path).stem), natural_key(item.name)))
    return Listing(items)
