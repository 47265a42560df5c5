"""Zip archives, read in place: nothing is extracted and no name of a member ever becomes a path.

An archive inside an archive is read through a window on the outer file where it is stored uncompressed, and copied
to a scratch folder, under a name of our own, where it is deflated.
"""

import io
import lzma
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from kdmri_monai.data.errors import BadSliceError, BadSourceError
from kdmri_monai.data.limits import ReadLimits

_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, ..., length of the name, length of the extra field
_ENCRYPTED = 0x1
_METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}
_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError, struct.error)
_CHUNK = 1 << 20


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


@dataclass(frozen=True)
class ArchiveRef:
    """Where the bytes of an archive are.

    Attributes:
        path: File that holds them.
        start: First byte.
        size: Bytes.
        name: Name for people, e.g. ``1512427.zip/brainTumorDataPublic_1766.zip``.
    """

    path: str
    start: int
    size: int
    name: str

    @classmethod
    def of(cls, path: Path, name: str) -> "ArchiveRef":
        """The archive that is the whole of a file."""
        return cls(str(path), 0, path.stat().st_size, name)


class WindowFile(io.RawIOBase):
    """Part of a file as a read-only seekable file of its own.

    Args:
        path: File.
        start: First byte of the window.
        size: Bytes; nothing beyond them can be read.
    """

    def __init__(self, path: str, start: int, size: int) -> None:
        super().__init__()
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._start, self._size, self._at = start, size, 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move, counted from the start of the window, from here, or from its end."""
        target = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if target < 0:
            raise ValueError(f"cannot seek to {target}, before the start of the window")
        self._at = target
        return target

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # any writable buffer, as io hands it
        """Fill the buffer as far as the window goes; 0 at its end."""
        data = os.pread(self._descriptor, max(0, min(len(buffer), self._size - self._at)), self._start + self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        """Close the file below; twice does no harm."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()


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
        except (*_DAMAGE, NotImplementedError) as error:
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
    except (*_DAMAGE, NotImplementedError) as error:
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
        except (*_DAMAGE, NotImplementedError) as error:
            raise BadArchiveError(name, f"is damaged: {error}") from error
        with member:
            while piece := _next_piece(member, name):
                _write(copy, piece, target)


def _write(copy: io.BufferedWriter, piece: bytes, target: Path) -> None:
    try:
        copy.write(piece)
        copy.flush()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from error


def _next_piece(member: IO[bytes], name: str) -> bytes:
    try:
        return member.read(_CHUNK)
    except _DAMAGE as error:
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
