"""Pictures: one PNG or JPEG, and folders of them, one a class."""

import io
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from kdmri_monai.data.class_names import class_of_name
from kdmri_monai.data.errors import BadSliceError
from kdmri_monai.data.findings import LEFT_OUT, Finding, Remark
from kdmri_monai.data.limits import ReadLimits
from kdmri_monai.data.pixels import check_image
from kdmri_monai.data.records import RawSlice
from kdmri_monai.data.source_contract import Listing, Source, files_below, printable, readable_name
from kdmri_monai.data.source_mat import read_file
from kdmri_monai.data.taxonomy import CLASSES

SUFFIXES = (".png", ".jpg", ".jpeg")
NO_PATIENT = "none: every file counts as a patient of its own"
_MASK_ENDING = "_mask"
_FAILURES = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError, Image.DecompressionBombWarning)


@dataclass(frozen=True)
class Picture:
    """One picture with what is known of it."""

    path: str
    name: str
    id: str
    label: int
    patient: str
    patient_source: str
    limits: ReadLimits
    mask: str | None = None
    plane: str | None = None

    @property
    def image_field(self) -> str:
        """A picture has no other."""
        return "pixels"

    def slices(self) -> Iterator[RawSlice | Finding]:
        """The one slice: grey, colour by its luma."""
        image = read_picture(Path(self.path), self.name, "pixels", self.limits)
        check_image(image, self.name, "pixels", self.limits)
        mask = None
        if self.mask is not None:
            mask = read_picture(Path(self.mask), self.name, "mask", self.limits) != 0
            if mask.shape != image.shape:
                got, want = (" x ".join(map(str, size)) for size in (mask.shape, image.shape))
                raise BadSliceError(self.name, "mask", f"has {got} pixels, the image has {want}")
        yield RawSlice(self.id, image, self.label, self.patient, self.patient_source, mask, plane=self.plane)


def read_picture(path: Path, name: str, field: str, limits: ReadLimits) -> NDArray[np.generic]:
    """Grey values of a PNG or JPEG, rows first, turned as its EXIF note says.

    Args:
        path: File.
        name: Name for people.
        field: The part that the file stands for, for messages.
        limits: Largest file and image; the header is checked before anything is decoded.

    Returns:
        Shape ``(rows, columns)``, unsigned 8 bit, or 16 and 32 where the file is deeper.

    Raises:
        BadSliceError: Missing, too large, truncated, not a PNG or JPEG.
    """
    data = read_file(path, name, limits.member_bytes)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as picture:
                if max(picture.size) > limits.side:
                    size = " x ".join(map(str, reversed(picture.size)))
                    raise BadSliceError(name, field, f"has {size} pixels, at most {limits.side} on a side are allowed")
                upright = ImageOps.exif_transpose(picture)
                return np.asarray(upright if upright.mode.startswith("I") else upright.convert("L"))
    except _FAILURES as error:
        if isinstance(error, BadSliceError):
            raise
        raise BadSliceError(name, field, f"is not readable as PNG or JPEG: {error}") from error


def recognise_class_folders(
    path: Path, limits: ReadLimits, patient_pattern: str | None, classes: Sequence[str] = CLASSES
) -> Source | None:
    """A folder in which folders named after the classes hold pictures; levels such as ``Training`` may lie between.

    Args:
        path: What the user named.
        limits: Largest file and image.
        patient_pattern: Regular expression for file names, see ``PrepareOptions``.
        classes: Names of the K classes.

    Returns:
        The source, or ``None`` where no folder with pictures is named after a class.
    """
    files = files_below(path, SUFFIXES) if path.is_dir() else []
    if not any(_class_folder(file, path, classes) for file in files):
        return None
    listing = partial(_list_pictures, tuple(files), path, limits, patient_pattern, tuple(classes))
    return Source("a folder of pictures a class", path, tuple(files), listing)


def _class_folder(file: Path, root: Path, classes: Sequence[str]) -> tuple[int, tuple[str, ...]] | None:
    """Class of the nearest folder named after one, and the folders below it that the file lies in."""
    folders = file.relative_to(root).parent.parts
    for depth in range(len(folders), 0, -1):
        label = class_of_name(folders[depth - 1], classes)
        if label is not None:
            return label, folders[depth:]
    return None


def _list_pictures(
    files: tuple[Path, ...],
    root: Path,
    limits: ReadLimits,
    pattern: str | None,
    classes: tuple[str, ...],
    scratch: Path,
) -> Listing:
    masks = {
        file.with_name(file.stem[: -len(_MASK_ENDING)]): file for file in files if file.stem.endswith(_MASK_ENDING)
    }
    pictures = [file for file in files if file not in masks.values()]
    items: list[Picture] = []
    skipped = [
        Finding(readable_name(mask, root), "file", "is a mask by its name, but there is no picture of that name")
        for stem, mask in masks.items()
        if stem not in {picture.with_suffix("") for picture in pictures}
    ]
    strangers: Counter[str] = Counter()
    for file in pictures:
        place = _class_folder(file, root, classes)
        if place is None:
            strangers[readable_name(file.parent, root)] += 1
            continue
        name = readable_name(file, root)
        try:
            patient, origin = patient_of_file(file, place[1], name, pattern)
        except BadSliceError as error:
            skipped.append(Finding.of(error))
            continue
        mask = masks.get(file.with_suffix(""))
        items.append(Picture(str(file), name, name, place[0], patient, origin, limits, str(mask) if mask else None))
    return Listing(items, (*skipped, *_left_out(strangers, classes)), patient_remarks(items, root.name))


def patient_of_file(file: Path, below: tuple[str, ...], name: str, pattern: str | None) -> tuple[str, str]:
    """Patient id of a picture and where it was read.

    Args:
        file: The picture.
        below: Folders between the class folder and the file.
        name: Name for people.
        pattern: Regular expression for the file name, or ``None``.

    Raises:
        BadSliceError: The pattern does not fit the file name.
    """
    if pattern is not None:
        match = re.search(pattern, file.name)
        group = match and (match.groupdict().get("patient") or (match.group(1) if match.re.groups else match.group()))
        if not group:
            raise BadSliceError(name, "patient", f"is not in the file name: the pattern {pattern!r} does not fit")
        return printable(group), "file name"
    if below:
        return printable(below[0]), "folder below the class"
    return name, NO_PATIENT


def patient_remarks(items: list[Picture], name: str) -> tuple[Remark, ...]:
    """A loud word where files stand in for patients."""
    alone = sum(item.patient_source == NO_PATIENT for item in items)
    if not alone:
        return ()
    reason = (
        f"{alone} pictures without a patient id: every file counts as a patient of its own, so that slices of one "
        "patient may fall on both sides of a split and results are too good; give a pattern or folders for the patients"
    )
    return (Remark(name, "patient", reason),)


def _left_out(strangers: Counter[str], classes: Sequence[str]) -> tuple[Finding, ...]:
    named = ", ".join(classes)
    return tuple(
        Finding(folder, LEFT_OUT, f"is not one of the classes {named}: {count} pictures left out")
        for folder, count in strangers.items()
    )
