"""Reads a bundle from anyone, a zip archive or a folder, without trusting a byte of it.

Nothing of an archive becomes a file before its whole directory is found sound; sizes are counted while unpacking.
"""

import os
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from kdmri_monai.data.archives import DAMAGE
from kdmri_monai.sharing.audit_names import clashes, name_problem
from kdmri_monai.sharing.audit_zip import structure_problems

MIB = 1 << 20
NOT_AS_SAID = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, struct.error, RuntimeError, NotImplementedError)
"""What unpacking a member raises whose content is not what the directory says."""
SHOWN = 20
"""Most problems of one archive that are told."""


class UnsafeArchiveError(ValueError):
    """An archive or folder must not be read or unpacked: paths that escape, links, bombs, names that deceive.

    Args:
        name: The archive.
        reasons: What is wrong with it.
    """

    def __init__(self, name: str, reasons: list[str]) -> None:
        rest = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        super().__init__(f"{name} is refused: {reasons[0]}{rest}")
        self.name, self.reasons = name, reasons


@dataclass(frozen=True)
class BundleLimits:
    """How much a bundle may ask for.

    Attributes:
        entries: Most files and folders.
        file_bytes: Largest file, bytes uncompressed.
        total_bytes: All files, bytes uncompressed.
        ratio: Largest uncompressed size for one compressed byte, for files over ``ratio_free_bytes``.
        ratio_free_bytes: Files up to this size may have any ratio.
    """

    entries: int = 20_000
    file_bytes: int = 4096 * MIB
    total_bytes: int = 8192 * MIB
    ratio: int = 200
    ratio_free_bytes: int = MIB


LIMITS = BundleLimits()


def unpack(path: Path, folder: Path, limits: BundleLimits = LIMITS) -> Path:
    """Extracts a zip archive safely.

    Args:
        path: Archive.
        folder: Where to; made where it is missing, and it must be empty where it is there.
        limits: How much it may ask for.

    Returns:
        The bundle's root: the one folder at the top of the archive, or ``folder``.

    Raises:
        UnsafeArchiveError: See ``archive_problems``; or more bytes came out than the directory says. Nothing is left.
        ValueError: Not a zip archive, or a damaged one; or ``folder`` is not empty.
        OSError: The archive cannot be read, or ``folder`` not written to.
    """
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise ValueError(f"{folder} is not an empty folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        with path.open("rb") as file, _opened(path, file) as archive:
            reasons = list(archive_problems(archive, file, limits))
            if reasons:
                raise UnsafeArchiveError(path.name, reasons)
            _extract(archive, path.name, staging, limits)
        if folder.exists():
            folder.rmdir()
        os.replace(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return bundle_root(folder)


def bundle_root(folder: Path) -> Path:
    """The one folder in ``folder`` where that is all there is, as a zip archive of a bundle has it; else ``folder``."""
    inside = list(folder.iterdir())
    if (folder / "configs").is_dir() or len(inside) != 1 or inside[0].is_symlink() or not inside[0].is_dir():
        return folder
    return inside[0]


def archive_problems(archive: zipfile.ZipFile, file: IO[bytes], limits: BundleLimits = LIMITS) -> Iterator[str]:
    """Why an archive must not be unpacked, read from its headers alone.

    Args:
        archive: Open.
        file: The same archive's bytes.
        limits: How much it may ask for.

    Yields:
        Up to ``SHOWN`` reasons; none for a sound archive.
    """
    infos = archive.infolist()
    if len(infos) > limits.entries:
        yield f"it has {len(infos):,} entries, allowed are {limits.entries:,}"
        return
    total = sum(info.file_size for info in infos)
    if total > limits.total_bytes:
        yield f"it would unpack to {total:,} bytes, allowed are {limits.total_bytes:,}"
    for info in infos:
        if info.file_size > limits.file_bytes:
            yield f"{info.orig_filename!r} would unpack to {info.file_size:,} bytes, allowed are {limits.file_bytes:,}"
        elif info.file_size > max(limits.ratio_free_bytes, limits.ratio * max(1, info.compress_size)):
            times = info.file_size // max(1, info.compress_size)
            yield f"{info.orig_filename!r} would unpack to {times:,} times its size, allowed are {limits.ratio}"
    for count, reason in enumerate(structure_problems(archive, file)):
        if count == SHOWN:
            return
        yield reason


def folder_files(root: Path, limits: BundleLimits = LIMITS) -> dict[str, Path]:
    """The files of an unpacked bundle.

    Args:
        root: Folder of the bundle; it may itself be reached by a link.
        limits: How much it may ask for.

    Returns:
        Paths by name inside the bundle, with ``/`` between folders, sorted.

    Raises:
        UnsafeArchiveError: A link, a device, a name that deceives, or more than the limits.
        OSError: The folder cannot be read.
    """
    reasons, names, files, total = [], [], {}, 0
    for entry in _walk(str(root)):
        name = os.path.relpath(entry.path, root).replace(os.sep, "/")
        status = entry.stat(follow_symlinks=False)
        folder = stat.S_ISDIR(status.st_mode)
        if not folder and not stat.S_ISREG(status.st_mode):
            reasons.append(f"{name!r} is a link or a device")
        if reason := name_problem(name):
            reasons.append(f"{name!r} {reason}")
        names.append(name + "/" * folder)
        if not folder:
            files[name], total = Path(entry.path), total + status.st_size
        if len(names) > limits.entries or total > limits.total_bytes:
            reasons.append(f"it has more than {limits.entries:,} entries or {limits.total_bytes:,} bytes")
            break
    reasons += [f"{second!r} is the same file as {first!r} on some systems" for first, second in clashes(names)]
    if reasons:
        raise UnsafeArchiveError(root.name, reasons[:SHOWN])
    return dict(sorted(files.items()))


def _walk(folder: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path)


def _opened(path: Path, file: IO[bytes]) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except (*DAMAGE, NotImplementedError) as error:
        raise ValueError(f"{path} is not a zip archive, or a damaged one: {error}") from error


def _extract(archive: zipfile.ZipFile, name: str, folder: Path, limits: BundleLimits) -> None:
    left = limits.total_bytes
    for info in archive.infolist():
        target = folder.joinpath(*info.filename.split("/"))
        if info.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            left -= _extract_one(archive, info, target, min(info.file_size, limits.file_bytes, left))
        except NOT_AS_SAID as error:
            reason = f"{info.orig_filename!r} does not unpack to what the directory says: {error}"
            raise UnsafeArchiveError(name, [reason]) from error


def _extract_one(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, most: int) -> int:
    """Writes a member; gives its bytes, which are counted here and not believed."""
    written = 0
    with archive.open(info) as member, target.open("xb") as out:
        while block := member.read(MIB):
            written += len(block)
            if written > most:
                raise ValueError(f"more than the {most:,} bytes allowed")
            out.write(block)
    if written != info.file_size:
        raise ValueError(f"{written:,} bytes instead of {info.file_size:,}")
    return written
