"""Zip archives whose bytes depend on nothing but names and contents."""

import io
import zipfile
from collections.abc import Callable, Mapping

DATE = (1980, 1, 1, 0, 0, 0)
"""The earliest date that the format can hold."""

MODE = 0o100644  # a plain file that its owner can write


def zip_bytes(files: Mapping[str, bytes], compress: bool = True) -> bytes:
    """An archive of files, sorted by name.

    Args:
        files: Content by path, with forward slashes.
        compress: Deflate; stored as they are where not.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(files):
            _write(archive, name, files[name], zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED)
    return buffer.getvalue()


def canonical_zip(
    content: bytes, without: Callable[[str], bool] = lambda name: False, more: Mapping[str, bytes] | None = None
) -> bytes:
    """An archive of the same members in the same order, without times and, of some, without the member.

    Members are stored, as PyTorch wants them.

    Args:
        content: A zip archive.
        without: Whether the member of a name is to be left out.
        more: Content of further members by name, written last.

    Raises:
        zipfile.BadZipFile: Not an archive.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            if not without(name):
                _write(new, name, old.read(name), zipfile.ZIP_STORED)
        for name in sorted(more or {}):
            _write(new, name, (more or {})[name], zipfile.ZIP_STORED)
    return buffer.getvalue()


def _write(archive: zipfile.ZipFile, name: str, content: bytes, method: int) -> None:
    info = zipfile.ZipInfo(name, DATE)
    info.external_attr, info.create_system, info.compress_type = MODE << 16, 3, method
    archive.writestr(info, content, compresslevel=9 if method == zipfile.ZIP_DEFLATED else None)
