"""Zip archives, read in place: nothing is extracted and no name of a member ever becomes a path."""

import io
import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO, cast

from kdmri_monai.data.archive_window import ArchiveRef, WindowFile
from kdmri_monai.data.errors import BadSliceError, BadSourceError
from kdmri_monai.data.limits import ReadLimits

_ENCRYPTED = 0x1
_METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}
DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError, struct.error)
"""What zipfile raises over a damaged archive or member."""


class BadArchiveError(BadSourceError):
    """An archive cannot be read, or must not be.

    Args:
        name: The archive.
        reason: What is wrong, naming the member where it is one.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name, self.reason = name, reason

    def __reduce__(self) -> tuple[type["BadArchiveError"], tuple[str, str]]:
        """Errors cross process borders."""
        return type(self), (self.name, self.reason)


@contextmanager
def open_archive(ref: ArchiveRef, limits: ReadLimits) -> Iterator[zipfile.ZipFile]:
    """The archive, its directory checked, for reading members with ``read_member``.

    Args:
        ref: Where it is.
        limits: Most members.

    Yields:
        The open archive; closed afterwards.

    Raises:
        BadArchiveError: Not a zip file, truncated, damaged, more members than allowed, members that overlap, a member
            that is a link or whose name is absolute, climbs with ``..``, or holds unprintable characters.
    """
    try:
        window = WindowFile(ref.path, ref.start, ref.size)
    except OSError as error:
        raise BadArchiveError(ref.name, f"cannot be opened: {error.strerror}") from error
    with io.BufferedReader(window) as file:
        try:
            archive = zipfile.ZipFile(file)
        except (*DAMAGE, NotImplementedError) as error:
            raise BadArchiveError(ref.name, _why_no_directory(cast(IO[bytes], file), error)) from error
        with archive:
            _check_directory(archive, ref, limits)
            yield archive


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, limits: ReadLimits) -> bytes:
    """The bytes of one member; at most ``limits.member_bytes`` and one are ever decompressed.

    Args:
        archive: Open archive.
        info: Member.
        name: Name for people.
        limits: Largest size and ratio.

    Raises:
        BadSliceError: Encrypted, compressed by another method, larger than allowed, damaged.
    """
    check_member(info, name, limits, limits.member_bytes)
    try:
        with archive.open(info) as member:
            data = member.read(limits.member_bytes + 1)
    except (*DAMAGE, NotImplementedError) as error:
        raise BadSliceError(name, "archive member", f"is damaged: {error}") from error
    if len(data) > limits.member_bytes:
        raise BadSliceError(name, "archive member", f"is larger than the {limits.member_bytes:,} bytes allowed")
    return data


def check_member(info: zipfile.ZipInfo, name: str, limits: ReadLimits, most: int) -> None:
    """Refuse a member by what the directory says of it, before anything is decompressed.

    Args:
        info: Member.
        name: Name for people.
        limits: Largest ratio.
        most: Largest size, bytes uncompressed.

    Raises:
        BadSliceError: Encrypted, compressed by another method, declared larger than allowed or out of all proportion.
    """
    if info.flag_bits & _ENCRYPTED:
        raise BadSliceError(name, "archive member", "is encrypted; unpack it with its password first")
    if info.compress_type not in _METHODS:
        reason = f"is compressed by zip method {info.compress_type}, allowed are stored (0) and deflated (8)"
        raise BadSliceError(name, "archive member", reason)
    if info.file_size > most:
        raise BadSliceError(name, "archive member", f"would unpack to {info.file_size:,} bytes, allowed are {most:,}")
    if info.file_size > limits.ratio_free_bytes and info.file_size > limits.ratio * max(1, info.compress_size):
        ratio = info.file_size // max(1, info.compress_size)
        reason = f"would unpack to {ratio:,} times its size, allowed are {limits.ratio} times"
        raise BadSliceError(name, "archive member", reason)


def _check_directory(archive: zipfile.ZipFile, ref: ArchiveRef, limits: ReadLimits) -> None:
    infos = archive.infolist()
    if len(infos) > limits.members:
        raise BadArchiveError(ref.name, f"has {len(infos):,} members, allowed are {limits.members:,}")
    if sum(info.compress_size for info in infos) > ref.size:
        raise BadArchiveError(ref.name, "is a bomb: its members overlap, together they are larger than the archive")
    for info in infos:
        reason = _unsafe(info)
        if reason:
            raise BadArchiveError(ref.name, f"member {info.orig_filename!r} {reason}; the whole archive is refused")


def _unsafe(info: zipfile.ZipInfo) -> str | None:
    """Why a member makes the archive suspect, ``None`` where it does not."""
    name = info.orig_filename.replace("\\", "/")
    if name.startswith("/") or name[1:2] == ":":
        return "has an absolute path for a name"
    if ".." in PurePosixPath(name).parts:
        return "climbs out of the archive with '..'"
    if not name.isprintable():
        return "has unprintable characters in its name"
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a special file"
    return None


def _why_no_directory(file: IO[bytes], error: Exception) -> str:
    file.seek(0)
    if file.read(4) == b"PK\3\4":
        return f"is truncated or damaged ({error}); fetch it again"
    return f"is not a zip archive ({error})"
