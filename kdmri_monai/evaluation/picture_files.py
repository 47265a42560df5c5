"""Pictures for a network from whatever a user names: scans of any kind, dataset folders, rows of a store."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from kdmri_monai.data.datalist import load_split
from kdmri_monai.data.errors import BadSliceError
from kdmri_monai.data.findings import Finding
from kdmri_monai.data.pixels import store_image
from kdmri_monai.data.scan_files import ALLOWED, kind_of
from kdmri_monai.data.scans import ScanSlice, scan_slices
from kdmri_monai.data.store import open_store, split_reference
from kdmri_monai.evaluation.prediction_pictures import Picture

DATALIST = "datalist.json"


def read_pictures(
    names: Iterable[str], size: int, *, plane: str | None = None, slices: tuple[int, int] | None = None
) -> Iterator[Picture | Finding]:
    """Pictures one at a time, normalised as ``kdmri prepare`` does; a finding for each that cannot be used.

    Args:
        names: PNG, JPEG, ``.mat`` files of the Figshare set, NIfTI, DICOM, folders of these (``scan_slices``);
            ``D/images.npy#17``, a row as it is; a dataset folder, which stands for the images of its test split.
        size: Side ``S`` of the stored images, pixels.
        plane: How volumes of NIfTI are cut.
        slices: First and last slice of each volume, series or multi-frame file.

    Raises:
        ValueError: Another plane, or a range that is none; at the first picture.
    """
    for name in names:
        if ".npy#" in name:
            yield _row(name)
        elif (Path(name) / DATALIST).is_file():
            yield from _test_split(name)
        elif (finding := _unreadable(name)) is not None:
            yield finding
        else:
            for one in scan_slices([name], plane=plane, slices=slices):
                yield one if isinstance(one, Finding) else _stored(one, size)


def _stored(one: ScanSlice, size: int) -> Picture | Finding:
    try:
        pixels = store_image(one.pixels, size, one.name, "pixels")
    except BadSliceError as error:
        return Finding.of(error)
    return Picture(one.name, pixels, one.pixels, one.path, one.index, one.plane)


def _row(name: str) -> Picture | Finding:
    try:
        path, row = split_reference(name)
        store = open_store(path)
    except (ValueError, OSError) as error:
        return Finding(name, "store", " ".join(str(error).split()))
    if row >= len(store):
        return Finding(name, "store", f"has {len(store)} rows, counted from 0; asked for is row {row}")
    return Picture(name, np.array(store[row]))


def _test_split(folder: str) -> Iterator[Picture | Finding]:
    try:
        entries = load_split(Path(folder) / DATALIST, "test")
    except (ValueError, OSError) as error:
        yield Finding(folder, DATALIST, " ".join(str(error).split()))
        return
    for entry in entries:
        yield _row(entry["image"])


def _unreadable(name: str) -> Finding | None:
    """A finding of a file that is not there or nothing that is read; what is in a folder, ``scan_slices`` tells."""
    path = Path(name)
    if path.is_dir():
        return None
    there = path.exists()
    try:
        known = kind_of(path) is not None
    except BadSliceError as error:
        if there:
            return Finding(name, error.field, error.reason)
        known = False
    if not known:
        missing = "" if there else "; there is no such file either"
        return Finding(name, "file", f"is no picture: {ALLOWED}, images.npy#ROW or a folder is expected{missing}")
    return None if there else Finding(name, "file", "cannot be read: there is no such file")
