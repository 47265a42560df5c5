"""The structure of a zip archive, byte by byte: what two readers could read differently is refused.

``zipfile`` believes the central directory, others the local headers, others again what comes first or last in the file;
an archive that is shown to an audit as one thing and unpacked as another lives from that difference.
Source: PKWARE, "APPNOTE.TXT - .ZIP File Format Specification", version 6.3.10, sections 4.3 and 4.4.
"""

import stat
import struct
import zipfile
from collections.abc import Iterator
from typing import IO

from kdmri_monai.sharing.audit_names import clashes, name_problem

END, END_SIZE = b"PK\5\6", 22
ZIP64_END = b"PK\6\6"
ZIP64_END_SIZE, ZIP64_LOCATOR_SIZE = 56, 20
LOCAL, LOCAL_SIZE = b"PK\3\4", 30
DESCRIPTORS = (12, 16, 20, 24)
"""Sizes a data descriptor can have: with or without signature, 32 or 64 bits."""
_STREAMED, _UTF8 = 0x8, 0x800
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_OTHER_NAME = 0x7075
"""Extra field with a second name of the member, in Unicode."""
COMMENT = 1024


def structure_problems(archive: zipfile.ZipFile, file: IO[bytes]) -> Iterator[str]:
    """What is wrong with an archive, before anything is decompressed.

    Args:
        archive: Open.
        file: The same archive's bytes.

    Yields:
        Reasons, each with the member it is about.
    """
    infos = archive.infolist()
    for info in infos:
        for reason in _member_problems(info):
            yield f"{info.orig_filename!r} {reason}"
    for first, second in clashes([info.filename for info in infos]):
        yield f"{second!r} is the same file as {first!r} on some systems, so that one hides the other"
    yield from _layout_problems(archive, file)


def _member_problems(info: zipfile.ZipInfo) -> Iterator[str]:
    if reason := name_problem(info.orig_filename):
        yield reason
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        yield "is a link or a device"
    if info.is_dir() and info.file_size:
        yield "is a folder with content"
    if info.flag_bits & _ENCRYPTED:
        yield "is encrypted"
    if info.compress_type not in _METHODS:
        yield f"is compressed by method {info.compress_type}; allowed are stored (0) and deflated (8)"
    if not info.orig_filename.isascii() and not info.flag_bits & _UTF8:
        yield "has a name in an encoding that is not stated"
    if _OTHER_NAME in _extra_fields(info.extra):
        yield "has a second name in its header"


def _extra_fields(extra: bytes) -> set[int]:
    found, place = set(), 0
    while place + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, place)
        found.add(kind)
        place += 4 + size
    return found


def _layout_problems(archive: zipfile.ZipFile, file: IO[bytes]) -> Iterator[str]:
    """Members must follow each other without gap or overlap from the first byte on, the directory after them."""
    comment = archive.comment
    if len(comment) > COMMENT or END in comment or not comment.isascii():
        yield "its comment is too long, or not text"
    expected = 0
    for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
        start = info.header_offset
        gap = start - expected
        if gap < 0:
            yield f"{info.orig_filename!r} overlaps the member before it, as in a bomb"
        elif gap and expected == 0:
            yield f"{gap:,} bytes stand before the archive"
        elif gap:
            yield f"{gap:,} hidden bytes stand before {info.orig_filename!r}"
        size, reason = _local_size(file, info)
        if reason:
            yield f"{info.orig_filename!r} {reason}"
        expected = start + size
        if info.flag_bits & _STREAMED:
            expected += _descriptor(file, expected, info)
    yield from _end_problems(archive, file, expected)


def _end_problems(archive: zipfile.ZipFile, file: IO[bytes], expected: int) -> Iterator[str]:
    file.seek(0, 2)
    total, place = file.tell(), archive.start_dir
    if place != expected:
        yield f"{abs(place - expected):,} bytes between the last member and the directory are not accounted for"
    end = place + sum(_entry_size(file, place, len(archive.infolist())))
    file.seek(end)
    mark = file.read(4)
    if mark == ZIP64_END:
        end += ZIP64_END_SIZE + ZIP64_LOCATOR_SIZE
        file.seek(end)
        mark = file.read(4)
    if mark != END or end + END_SIZE + len(archive.comment) != total:
        yield "bytes stand between or behind the archive's end records"


def _entry_size(file: IO[bytes], place: int, count: int) -> Iterator[int]:
    for _ in range(count):
        file.seek(place)
        header = file.read(46)
        if len(header) < 46 or header[:4] != b"PK\1\2":
            return
        size = 46 + sum(struct.unpack_from("<HHH", header, 28))
        yield size
        place += size


def _local_size(file: IO[bytes], info: zipfile.ZipInfo) -> tuple[int, str | None]:
    """Bytes of local header and compressed data, and what in the header contradicts the directory."""
    file.seek(info.header_offset)
    header = file.read(LOCAL_SIZE)
    if len(header) < LOCAL_SIZE or header[:4] != LOCAL:
        return info.compress_size, "has no local header where the directory says"
    flags, method = struct.unpack_from("<HH", header, 6)
    crc, packed, size, name_size, extra_size = struct.unpack_from("<IIIHH", header, 14)
    name = file.read(name_size)
    whole = LOCAL_SIZE + name_size + extra_size + info.compress_size
    encoding = "utf-8" if flags & _UTF8 else "cp437"
    if name.decode(encoding, "replace") != info.orig_filename or method != info.compress_type:
        return whole, "has another name or method in its local header than in the directory"
    if (flags ^ info.flag_bits) & (_STREAMED | _ENCRYPTED | _UTF8):
        return whole, "has other flags in its local header than in the directory"
    if _OTHER_NAME in _extra_fields(file.read(extra_size)):
        return whole, "has a second name in its local header"
    wide = 0xFFFFFFFF in (packed, size)
    agrees = (crc, packed, size) == (info.CRC, info.compress_size, info.file_size)
    if not agrees and not wide and not (flags & _STREAMED and (crc, packed, size) == (0, 0, 0)):
        return whole, "has another size or checksum in its local header than in the directory"
    return whole, None


def _descriptor(file: IO[bytes], place: int, info: zipfile.ZipInfo) -> int:
    """Bytes of the data descriptor that ends a streamed member: those whose content agrees with the directory."""
    file.seek(place)
    data = file.read(max(DESCRIPTORS))
    for signature in (b"PK\7\x08", b""):
        for form in ("<III", "<IQQ"):
            wanted = (
                signature + struct.pack(form, info.CRC, info.compress_size, info.file_size)
                if _fits(info, form)
                else None
            )
            if wanted and data.startswith(wanted):
                return len(wanted)
    return 0


def _fits(info: zipfile.ZipInfo, form: str) -> bool:
    return form == "<IQQ" or max(info.compress_size, info.file_size) <= 0xFFFFFFFF
