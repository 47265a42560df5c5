"""What the header of a DICOM image says of its pixels and its place; nothing that says who the patient is.

Only the elements of ``ELEMENTS`` are read from a file, so that no name, date or institution is ever in memory, and what
pydicom has to say of a broken element, which may quote it, is not passed on. Enhanced images keep spacing, orientation
and rescaling in functional groups, of all frames or of one; those are looked at first.

Source: DICOM PS3.3, C.7.6.2 (image plane), C.7.6.3 (image pixel), C.7.6.16 (multi-frame functional groups).
"""

import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from kdmri_monai.data.errors import BadSliceError
from kdmri_monai.data.limits import ReadLimits

ELEMENTS = (
    "SOPClassUID", "SeriesInstanceUID", "InstanceNumber", "SamplesPerPixel", "PhotometricInterpretation", "Rows",
    "Columns", "NumberOfFrames", "BitsAllocated", "BitsStored", "PixelRepresentation", "PixelPaddingValue",
    "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "PixelSpacing",
    "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio", "ImageOrientationPatient",
    "ImagePositionPatient", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
"""All that is read of a header, beside the transfer syntax."""
GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
FAILURES = (
    OSError, ValueError, TypeError, KeyError, AttributeError, IndexError, NotImplementedError, RuntimeError, EOFError,
    OverflowError, AssertionError, struct.error,
)  # fmt: skip
"""What pydicom raises for damaged files."""


def read_header(path: Path, name: str, limits: ReadLimits) -> Any:
    """The elements of ``ELEMENTS`` of an image that can be decoded here, as a ``pydicom.Dataset``.

    Args:
        path: File.
        name: Name for people.
        limits: Largest file, image and stack of frames.

    Raises:
        BadSliceError: Not DICOM, no image, of a form that is not read, larger than allowed, or compressed in a way for
            which no decoder is installed.
    """
    from pydicom import dcmread  # not at the top: the other sources start faster without
    from pydicom.errors import InvalidDicomError

    try:
        if (size := path.stat().st_size) > limits.volume_bytes:
            raise BadSliceError(name, "file", f"has {size:,} bytes, allowed are {limits.volume_bytes:,}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _check_syntax(path, name)
            header = dcmread(path, stop_before_pixels=True, specific_tags=list(ELEMENTS))
    except InvalidDicomError as error:
        raise BadSliceError(name, "file", "is not DICOM: the mark DICM at byte 128 is missing") from error
    except FAILURES as error:
        if isinstance(error, BadSliceError):
            raise
        raise BadSliceError(name, "header", f"is damaged ({type(error).__name__})") from error
    _check_image(header, name, limits)
    return header


def element(header: Any, name: str, keyword: str, group: str | None = None, frame: int = 0) -> Any:
    """The value of an element, ``None`` where it is missing or empty.

    Args:
        header: From ``read_header``.
        name: Name for people.
        keyword: Of the element.
        group: Sequence of the functional groups that holds it in enhanced images.
        frame: Number of the frame, from 0.

    Raises:
        BadSliceError: The value cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for holder in (*_groups(header, group, frame), header):
                value = holder.get(keyword)
                if value is not None and value != "":
                    return value
    except FAILURES as error:
        raise BadSliceError(name, keyword, f"cannot be read ({type(error).__name__})") from error
    return None


def numbers(
    header: Any, name: str, keyword: str, count: int, group: str | None = None, frame: int = 0
) -> tuple[float, ...] | None:
    """Finite numbers of an element, ``None`` where it is missing; arguments as those of ``element``.

    Raises:
        BadSliceError: Another count, or no finite numbers.
    """
    value = element(header, name, keyword, group, frame)
    if value is None:
        return None
    try:
        found = tuple(float(one) for one in np.atleast_1d(np.asarray(value, dtype=object)))
    except FAILURES:
        found = ()
    if len(found) != count or not np.isfinite(found).all():
        raise BadSliceError(name, keyword, f"is not {count} number{'s' if count > 1 else ''}")
    return found


def _groups(header: Any, group: str | None, frame: int) -> list[Any]:
    """Items of a functional group, that of the frame before that of all frames."""
    found = []
    for sequence, place in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        items = header.get(sequence) if group else None
        if items and place < len(items) and items[place].get(group):
            found.append(items[place].get(group)[0])
    return found


def _check_syntax(path: Path, name: str) -> None:
    from pydicom.filereader import read_file_meta_info
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    syntax = read_file_meta_info(path).get("TransferSyntaxUID")
    if syntax is None:
        raise BadSliceError(name, "TransferSyntaxUID", "is missing")
    if syntax == DeflatedExplicitVRLittleEndian:  # its size is not known before it is inflated
        raise BadSliceError(name, "TransferSyntaxUID", f"is {syntax.name}, which is not read; store it uncompressed")
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise BadSliceError(name, "TransferSyntaxUID", f"is {syntax.name}, which holds no pictures") from error
    if not decoder.is_available:
        needed = "; ".join(decoder.missing_dependencies)
        raise BadSliceError(name, "TransferSyntaxUID", f"is {syntax.name}, no decoder for it is installed: {needed}")


def _check_image(header: Any, name: str, limits: ReadLimits) -> None:
    keywords = ("Rows", "Columns", "BitsAllocated")
    sizes = {keyword: numbers(header, name, keyword, 1) for keyword in keywords}
    for keyword, value in sizes.items():
        if value is None or value[0] < 1:
            raise BadSliceError(name, keyword, "is missing: the file holds no picture")
    rows, columns, bits = (int(value[0]) for value in sizes.values() if value is not None)
    if max(rows, columns) > limits.side:
        raise BadSliceError(name, "Rows", f"x Columns is {rows} x {columns}, at most {limits.side} are allowed")
    if bits not in (8, 16, 32):
        raise BadSliceError(name, "BitsAllocated", f"is {bits}, allowed are 8, 16, 32")
    form, samples = element(header, name, "PhotometricInterpretation"), element(header, name, "SamplesPerPixel") or 1
    if samples == 3 and bits != 8:
        raise BadSliceError(name, "BitsAllocated", f"is {bits} in colour, allowed is 8")
    if (form, samples) not in {*((grey, 1) for grey in GREY), *((colour, 3) for colour in COLOUR)}:
        allowed = f"{', '.join(GREY)} with one sample a pixel, {', '.join(COLOUR)} with three"
        raise BadSliceError(name, "PhotometricInterpretation", f"is {form} with {samples}, allowed are {allowed}")
    frames = frame_count(header, name)
    if (needed := frames * rows * columns * samples * bits // 8) > limits.volume_bytes:
        reason = f"are {frames} of {rows} x {columns} pixels, {needed:,} bytes, allowed are {limits.volume_bytes:,}"
        raise BadSliceError(name, "NumberOfFrames", reason)


def frame_count(header: Any, name: str) -> int:
    """Number of frames, 1 where the header says none.

    Raises:
        BadSliceError: It is no positive whole number.
    """
    found = numbers(header, name, "NumberOfFrames", 1) or (1.0,)
    if found[0] < 1 or found[0] != int(found[0]):
        raise BadSliceError(name, "NumberOfFrames", f"is {found[0]:g}, a positive whole number is expected")
    return int(found[0])
