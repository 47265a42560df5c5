"""Scans of any kind as slices: what a user has on a disk, files or folders, one slice at a time.

PNG and JPEG pictures, ``.mat`` files of the Figshare set (the image alone), NIfTI volumes, DICOM files and folders of
DICOM series. Nothing but pixels, file name, place and plane of a slice is taken from a file: no label and nothing of
the patient. Slices are read as they are asked for, so that a folder of any size needs the memory of one volume.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdmri_monai.data.cjdata import read_cjdata_image
from kdmri_monai.data.dicom_series import DicomFile
from kdmri_monai.data.errors import BadSliceError
from kdmri_monai.data.findings import Finding
from kdmri_monai.data.limits import ReadLimits
from kdmri_monai.data.nifti_volume import NORMAL, VOXELS, LoadedVolume
from kdmri_monai.data.pixels import check_image
from kdmri_monai.data.scan_files import Kind, ScanFile, find_scans
from kdmri_monai.data.source_mat import read_file
from kdmri_monai.data.source_pictures import read_picture
from kdmri_monai.data.square_pixels import squared
from kdmri_monai.data.taxonomy import PLANES


@dataclass(frozen=True, eq=False)
class ScanSlice:
    """One slice of a scan.

    Attributes:
        name: File, and number of the slice where it has several, for people: ``head.nii.gz slice 17``.
        path: The file.
        index: Number of the slice in its volume, series or multi-frame file, from 0; ``None`` for a single picture.
        pixels: Upright, shape ``(rows, columns)``, any real dtype; fit for a network (``check_image``).
        plane: One of ``taxonomy.PLANES``; ``None`` where it is not known.
    """

    name: str
    path: str
    index: int | None
    pixels: NDArray[np.generic]
    plane: str | None


def scan_slices(
    paths: Iterable[str | Path],
    *,
    plane: str | None = None,
    slices: tuple[int, int] | None = None,
    limits: ReadLimits | None = None,
) -> Iterator[ScanSlice | Finding]:
    """Every slice of some files and folders; a finding for each file or slice that cannot be used.

    Folders are walked at any depth in natural order; DICOM files of a folder are put together by series and in the
    order of their position. Pictures and DICOM slices come as they are, DICOM as the scanner shows it; a volume of
    NIfTI is cut along ``plane`` in radiological convention, from left, posterior or inferior on. Pixels that are not
    square are made so.

    Args:
        paths: Files and folders.
        plane: How volumes of NIfTI are cut, one of ``taxonomy.PLANES``; axial by default.
        slices: First and last slice that is wanted of each volume, series or multi-frame file, from 0, both included;
            all by default. Single pictures are not concerned.
        limits: What a file may ask for.

    Raises:
        ValueError: Another plane; a range that is none.
    """
    if plane is not None and plane not in PLANES:
        raise ValueError(f"plane is {plane!r}, allowed are {', '.join(PLANES)}")
    if slices is not None and not _is_range(slices):
        raise ValueError(f"slices is {slices}, expected are the first and the last one, from 0: [20, 40]")
    return _read(paths, plane or PLANES[0], slices, limits or ReadLimits())


def _is_range(slices: object) -> bool:
    if not isinstance(slices, (tuple, list)) or len(slices) != 2 or not all(isinstance(one, int) for one in slices):
        return False
    return bool(0 <= slices[0] <= slices[1])


def _read(
    paths: Iterable[str | Path], plane: str, slices: tuple[int, int] | None, limits: ReadLimits
) -> Iterator[ScanSlice | Finding]:
    for scan in find_scans(paths, limits):
        if isinstance(scan, Finding):
            yield scan
            continue
        try:
            yield from _slices_of(scan, plane, slices, limits)
        except BadSliceError as error:
            yield Finding.of(error)


def _slices_of(
    scan: ScanFile, plane: str, slices: tuple[int, int] | None, limits: ReadLimits
) -> Iterator[ScanSlice | Finding]:
    if scan.kind is Kind.NIFTI:
        yield from _volume_slices(scan, plane, slices, limits)
    elif scan.kind is Kind.DICOM:
        yield from _dicom_slices(scan, slices, limits)
    elif scan.kind is Kind.MAT:
        data = read_file(scan.path, scan.name, limits.member_bytes)
        yield ScanSlice(scan.name, str(scan.path), None, read_cjdata_image(data, scan.name, limits), None)
    else:
        image = read_picture(scan.path, scan.name, "pixels", limits)
        check_image(image, scan.name, "pixels", limits)
        yield ScanSlice(scan.name, str(scan.path), None, image, None)


def _volume_slices(
    scan: ScanFile, plane: str, slices: tuple[int, int] | None, limits: ReadLimits
) -> Iterator[ScanSlice | Finding]:
    volume = LoadedVolume(str(scan.path), scan.name, VOXELS, limits)
    spacing = volume.spacing(plane)
    for index in _wanted(volume.data.shape[NORMAL[plane]], slices, scan.name):
        name = f"{scan.name} slice {index}"
        try:
            image = squared(volume.upright(plane, index), spacing, name, VOXELS, limits)
            check_image(image, name, VOXELS, limits)
        except BadSliceError as error:
            yield Finding.of(error)
            continue
        yield ScanSlice(name, str(scan.path), index, image, plane)


def _dicom_slices(scan: ScanFile, slices: tuple[int, int] | None, limits: ReadLimits) -> Iterator[ScanSlice | Finding]:
    if scan.index is not None and slices is not None and not slices[0] <= scan.index <= slices[1]:
        return
    file = DicomFile(scan.path, scan.name, limits)
    several = len(file) > 1
    for index in _wanted(len(file), slices, scan.name) if several else [0]:
        name = f"{scan.name} slice {index}" if several else scan.name
        try:
            image = file.image(index, name)
        except BadSliceError as error:
            yield Finding.of(error)
            continue
        yield ScanSlice(name, str(scan.path), index if several else scan.index, image, file.plane(index))


def _wanted(count: int, slices: tuple[int, int] | None, name: str) -> range:
    if slices is None:
        return range(count)
    if slices[0] >= count:
        raise BadSliceError(name, "slices", f"are {count}, from 0; asked for are {slices[0]} to {slices[1]}")
    return range(slices[0], min(slices[1] + 1, count))
