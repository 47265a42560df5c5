"""Files and folders that a user names, as the scans that are in them, in an order that never changes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from kdmri_monai.data.dicom_series import SUFFIXES as DICOM_SUFFIXES
from kdmri_monai.data.dicom_series import is_dicom, series_order
from kdmri_monai.data.errors import BadSliceError
from kdmri_monai.data.findings import LEFT_OUT, Finding
from kdmri_monai.data.limits import ReadLimits
from kdmri_monai.data.source_contract import files_below, printable, readable_name
from kdmri_monai.data.source_nifti import SUFFIXES as NIFTI_SUFFIXES
from kdmri_monai.data.source_pictures import SUFFIXES as PICTURE_SUFFIXES

ALLOWED = "PNG, JPEG, .mat of the Figshare set, NIfTI (.nii, .nii.gz) or DICOM"


class Kind(Enum):
    """What a file is."""

    PICTURE = "picture"
    MAT = "mat"
    NIFTI = "nifti"
    DICOM = "dicom"


@dataclass(frozen=True)
class ScanFile:
    """One file that holds slices.

    Attributes:
        path: The file.
        name: For people: as the user named it, or its path from the folder that was named.
        kind: What it is.
        index: Place of a DICOM file among those of its series, from 0, where a folder gave several.
    """

    path: Path
    name: str
    kind: Kind
    index: int | None = None


def find_scans(paths: Iterable[str | Path], limits: ReadLimits) -> Iterator[ScanFile | Finding]:
    """Files that hold slices, those of folders in natural order; a finding for each that holds none.

    Hidden files and resource forks of folders are passed over. A DICOM file is known by its content, whatever its name.
    The DICOM files of one folder are put together by series, each in the order of position.

    Args:
        paths: Files, taken in this order, and folders.
        limits: What a DICOM file may ask for.
    """
    for given in paths:
        path = Path(given)
        if path.is_dir():
            yield from _in_folder(path, limits)
            continue
        yield _scan(path, printable(str(given)))


def kind_of(path: Path) -> Kind | None:
    """What a file is, by its ending, else by its first bytes; ``None`` where it is nothing that is read.

    Raises:
        BadSliceError: It is not there, or cannot be opened.
    """
    lower = path.name.lower()
    for endings, kind in (
        (PICTURE_SUFFIXES, Kind.PICTURE),
        ((".mat",), Kind.MAT),
        (NIFTI_SUFFIXES, Kind.NIFTI),
        (DICOM_SUFFIXES, Kind.DICOM),
    ):
        if lower.endswith(endings):
            return kind
    return Kind.DICOM if is_dicom(path) else None


def _scan(path: Path, name: str) -> ScanFile | Finding:
    if not path.exists():
        return Finding(name, "file", "does not exist")
    try:
        kind = kind_of(path)
    except BadSliceError as error:
        return Finding(name, error.field, error.reason)
    return Finding(name, "file", f"is none of {ALLOWED}") if kind is None else ScanFile(path, name, kind)


def _in_folder(root: Path, limits: ReadLimits) -> Iterator[ScanFile | Finding]:
    """Folder by folder, so that only the headers of one folder's series are looked at before its slices come."""
    files = files_below(root, [""])
    if not files:
        yield Finding(printable(str(root)), "file", f"holds no files; {ALLOWED} are expected")
    folders: dict[Path, list[Path]] = {}
    for file in files:
        folders.setdefault(file.parent, []).append(file)
    for together in folders.values():
        found = [_scan(file, readable_name(file, root)) for file in together]
        stems = {one.path.with_suffix("") for one in found if isinstance(one, ScanFile) and one.kind is Kind.PICTURE}
        dicom = [one for one in found if isinstance(one, ScanFile) and one.kind is Kind.DICOM]
        for one in found:
            if isinstance(one, Finding) or one.kind in (Kind.MAT, Kind.NIFTI):
                yield one
            elif one.kind is Kind.PICTURE:
                yield _mask_of(one, stems) or one
        yield from _ordered(dicom, limits)


def _mask_of(picture: ScanFile, stems: set[Path]) -> Finding | None:
    """A finding where a picture is the mask of another, ``12_mask.png`` beside ``12.png``."""
    stem = picture.path.with_suffix("")
    if not stem.name.endswith("_mask") or stem.with_name(stem.name.removesuffix("_mask")) not in stems:
        return None
    return Finding(picture.name, LEFT_OUT, "is by its name the mask of another picture")


def _ordered(files: list[ScanFile], limits: ReadLimits) -> Iterator[ScanFile]:
    """DICOM files of one folder: series in the order of their first file, slices in that of their position."""
    names = {file.path: file.name for file in files}
    for path, index in series_order([file.path for file in files], limits):
        yield ScanFile(path, names[path], Kind.DICOM, index)
