"""Archives inside an archive.

One that is stored uncompressed is read through a window on the outer file; one that is deflated is copied to a scratch
folder first, by pieces and under a name of our own.
"""

import struct
import zipfile
from pathlib import Path
from typing import IO

from kdmri_monai.data.archive_window import ArchiveRef, WindowFile
from kdmri_monai.data.archives import DAMAGE, BadArchiveError, check_member, open_archive
from kdmri_monai.data.errors import BadSliceError
from kdmri_monai.data.limits import ReadLimits

_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, ..., length of the name, length of the extra field
_CHUNK = 1 << 20


def inner_archive(ref: ArchiveRef, info: zipfile.ZipInfo, scratch: Path, limits: ReadLimits) -> ArchiveRef:
    """An archive inside an archive, as one that can be opened.

    Args:
        ref: The outer archive.
        info: The member that is an archive.
        scratch: Folder that takes the copy of a deflated one, named by its place in the outer file.
        limits: Largest inner archive and ratio.

    Raises:
        BadArchiveError: The member is encrypted, too large, damaged, or not where the directory says.
        OSError: The copy cannot be written.
    """
    name = f"{ref.name}/{info.filename}"
    try:
        check_member(info, name, limits, limits.inner_archive_bytes)
    except BadSliceError as error:
        raise BadArchiveError(name, error.reason) from error
    if info.compress_type == zipfile.ZIP_STORED:
        return ArchiveRef(ref.path, ref.start + _data_start(ref, info, name), info.file_size, name)
    target = scratch / f"inner-{info.header_offset}.zip"
    with open_archive(ref, limits) as archive:
        _copy_member(archive, info, target, name)
    return ArchiveRef.of(target, name)


def _copy_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, name: str) -> None:
    """Inflate a member to a file by pieces; the directory has been checked, and zipfile stops at the declared size."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as copy:
        try:
            member = archive.open(info)
        except (*DAMAGE, NotImplementedError) as error:
            raise BadArchiveError(name, f"is damaged: {error}") from error
        with member:
            while piece := _next_piece(member, name):
                _write(copy, piece, target)


def _write(copy: IO[bytes], piece: bytes, target: Path) -> None:
    try:
        copy.write(piece)
        copy.flush()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from error


def _next_piece(member: IO[bytes], name: str) -> bytes:
    try:
        return member.read(_CHUNK)
    except DAMAGE as error:
        raise BadArchiveError(name, f"is damaged: {error}") from error


def _data_start(ref: ArchiveRef, info: zipfile.ZipInfo, name: str) -> int:
    """Offset of a member's data in the archive: behind its local header, whose length only it knows."""
    with WindowFile(ref.path, ref.start, ref.size) as window:
        window.seek(info.header_offset)
        header = window.read(_LOCAL_HEADER.size) or b""
    if len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\3\4"):
        raise BadArchiveError(name, "is damaged: its header is not where the directory says")
    _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    start = int(info.header_offset) + _LOCAL_HEADER.size + name_length + extra_length
    if start + info.file_size > ref.size:
        raise BadArchiveError(name, "is damaged: it reaches beyond the end of the archive")
    return start
