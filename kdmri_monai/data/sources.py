"""Which kind of source a path is, by what it holds; and whether it is the one that was read before."""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

from kdmri_monai.data.errors import BadSourceError
from kdmri_monai.data.options import PrepareOptions
from kdmri_monai.data.source_contract import Source, files_below
from kdmri_monai.data.source_figshare import recognise_archives
from kdmri_monai.data.source_manifest import NAMES, recognise_manifest
from kdmri_monai.data.source_mat import recognise_mat_files
from kdmri_monai.data.source_nifti import SUFFIXES as VOLUMES
from kdmri_monai.data.source_pictures import SUFFIXES as PICTURES
from kdmri_monai.data.source_pictures import recognise_class_folders
from kdmri_monai.data.taxonomy import CLASSES

STORE_FORMAT = "kdmri-store-1"
"""Part of every fingerprint: a change of how pixels are prepared needs another name."""


def recognise_source(path: Path, options: PrepareOptions) -> Source:
    """Find out what a source is; little is read.

    A table that names the files comes first, then archives, ``.mat`` files, folders of pictures.

    Args:
        path: What the user named.
        options: Limits, classes, and the pattern for patient ids.

    Raises:
        BadSourceError: No such path, or nothing in it that is known; the message says what is, and what is there. Or
            other classes for files of the Figshare set, which number their three.
    """
    if not path.exists():
        raise BadSourceError(f"{path}: no such file or folder")
    if source := recognise_manifest(path, options.limits, options.classes):
        return source
    if source := recognise_archives(path, options.limits) or recognise_mat_files(path, options.limits):
        if options.classes != CLASSES:
            raise BadSourceError(
                f"{path}: holds {source.kind}, whose classes are {', '.join(CLASSES)}; other classes are for folders "
                "of pictures and for tables"
            )
        return source
    if source := recognise_class_folders(path, options.limits, options.patient_pattern, options.classes):
        return source
    raise BadSourceError(_nothing_known(path, options.classes))


def fingerprint(source: Source, options: PrepareOptions) -> str:
    """Digest of what decides the content of a dataset folder.

    Names, sizes and times of the source's files, names, sizes and checksums of the members of its archives, the
    options, and the format of the store.

    Args:
        source: From ``recognise_source``.
        options: Choices of the user.

    Returns:
        64 hexadecimal digits.
    """
    root = source.path if source.path.is_dir() else source.path.parent
    content = {
        "format": STORE_FORMAT,
        "kind": source.kind,
        "options": options.as_dict(),
        "files": [[str(file.relative_to(root)) if file.is_relative_to(root) else str(file), *_stamp(file)]
                  for file in source.files],
    }  # fmt: skip
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _stamp(file: Path) -> list[Any]:
    """Size, time, and members where the file is an archive; a missing file has none."""
    try:
        status = file.stat()
    except OSError:  # a table may name a file that is not there; its row is reported when it is read
        return [None]
    members: list[list[Any]] = []
    if file.suffix.lower() == ".zip":
        try:
            with zipfile.ZipFile(file) as archive:
                members = [[info.filename, info.file_size, info.CRC] for info in archive.infolist()]
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
            members = []  # a damaged archive has no directory; it is reported when it is opened
    return [status.st_size, status.st_mtime_ns, members]


def _nothing_known(path: Path, classes: tuple[str, ...]) -> str:
    allowed = (
        "allowed are the published zip, a folder with its four archives, .mat files of the Figshare set, folders of "
        f"PNG or JPEG pictures named after the classes, and tables ({', '.join(NAMES)}) of pictures or NIfTI volumes"
    )
    if path.is_dir():
        if files_below(path, VOLUMES):
            return f"{path}: holds NIfTI volumes but no {' or '.join(NAMES)} with path, label and patient of each"
        if files_below(path, PICTURES):
            named = f"{', '.join(classes[:-1])} or {classes[-1]}"
            other = "for other classes name them: --classes NAME,NAME, or --classes found"
            return f"{path}: holds pictures, but in no folder named {named}; {other}; {allowed}"
    return f"{path}: holds nothing that can be read; {allowed}"
