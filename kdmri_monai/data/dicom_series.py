"""DICOM files, single or with many frames, and the order of those of a series.

Pictures are kept as the scanner shows them: rows and columns of the file are those of the slice. Those of the brain are
as a rule in radiological convention already, as the slices that are cut from NIfTI volumes are.
"""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kdmri_monai.data.dicom_header import FAILURES, GREY, element, frame_count, numbers, read_header
from kdmri_monai.data.dicom_pixels import grey_values, luma, padding_range
from kdmri_monai.data.errors import BadSliceError
from kdmri_monai.data.limits import ReadLimits
from kdmri_monai.data.pixels import check_image
from kdmri_monai.data.source_contract import natural_key
from kdmri_monai.data.square_pixels import squared

SUFFIXES = (".dcm", ".dicom", ".ima")
PIXELS = "PixelData"
"""Field of a finding about the pixels of a file."""
_RAS = np.array([-1.0, -1.0, 1.0])  # DICOM counts to the left and to the back
_PLANE_ACROSS = ("sagittal", "coronal", "axial")


class DicomFile:
    """One DICOM image file; frames are decoded when they are asked for.

    Args:
        path: File.
        name: Name for people.
        limits: Largest file, image and stack of frames.

    Raises:
        BadSliceError: Not DICOM, or an image that is not read here, see ``read_header``.
    """

    def __init__(self, path: Path, name: str, limits: ReadLimits) -> None:
        self.path, self.name, self.limits = path, name, limits
        self.header = read_header(path, name, limits)
        self._frames = frame_count(self.header, name)

    def __len__(self) -> int:
        """Number of frames."""
        return self._frames

    def image(self, index: int, name: str | None = None) -> NDArray[np.generic]:
        """Grey values of a frame, dark to bright, with square pixels.

        Args:
            index: Number of the frame, from 0.
            name: Name of the slice for people; that of the file by default.

        Returns:
            Shape ``(rows, columns)``, a real dtype.

        Raises:
            BadSliceError: The frame cannot be decoded, or is no image for a network (``check_image``).
        """
        name = name or self.name
        stored = self._decoded(index, name)
        grey = luma(stored) if stored.ndim == 3 else self._grey(stored, index, name)
        image = squared(grey, self._spacing(index), name, PIXELS, self.limits)
        check_image(image, name, PIXELS, self.limits)
        return image

    def plane(self, index: int) -> str | None:
        """The closest of ``taxonomy.PLANES``, ``None`` where the file does not say."""
        normal = _normal(self, index)
        return None if normal is None else _PLANE_ACROSS[int(np.abs(normal).argmax())]

    def _decoded(self, index: int, name: str) -> NDArray[np.integer[Any]]:
        from pydicom.pixels.utils import pixel_array

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                found: NDArray[np.integer[Any]] = pixel_array(self.path, index=index)
        except (*FAILURES, Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            reason = " ".join(str(error).split())
            raise BadSliceError(name, PIXELS, f"cannot be decoded: {reason or type(error).__name__}") from error
        return found

    def _grey(self, stored: NDArray[np.integer[Any]], index: int, name: str) -> NDArray[np.generic]:
        if element(self.header, name, "ModalityLUTSequence") is not None:
            raise BadSliceError(name, "ModalityLUTSequence", "is not read; slope and intercept are")
        group = "PixelValueTransformationSequence"
        slope = (numbers(self.header, name, "RescaleSlope", 1, group, index) or (1.0,))[0]
        intercept = (numbers(self.header, name, "RescaleIntercept", 1, group, index) or (0.0,))[0]
        value = numbers(self.header, name, "PixelPaddingValue", 1)
        limit = numbers(self.header, name, "PixelPaddingRangeLimit", 1)
        padding = None if value is None else padding_range(value[0], limit[0] if limit else None, stored.dtype)
        inverted = element(self.header, name, "PhotometricInterpretation") == GREY[0]
        return grey_values(stored, slope, intercept, inverted, padding)

    def _spacing(self, index: int) -> tuple[float, float]:
        """Between rows and between columns; only their ratio matters."""
        for keyword, group in (
            ("PixelSpacing", "PixelMeasuresSequence"),
            ("ImagerPixelSpacing", None),
            ("NominalScannedPixelSpacing", None),
            ("PixelAspectRatio", None),
        ):
            found = numbers(self.header, self.name, keyword, 2, group, index)
            if found is not None:
                return found[0], found[1]
        return 1.0, 1.0


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its content, whatever its name.

    Raises:
        BadSliceError: It cannot be opened.
    """
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError as error:
        raise BadSliceError(path.name, "file", f"cannot be read: {error.strerror}") from error


def series_order(paths: Sequence[Path], limits: ReadLimits) -> Iterator[tuple[Path, int | None]]:
    """DICOM files with their places in their series, from left, posterior or inferior on.

    Files are of one series where series and orientation agree. They are ordered by position along the normal, where
    all have one, then by instance number, then by name. Of a file with many frames, and of one that cannot be read,
    nothing is said: it stands alone.

    Args:
        paths: Files, in an order that decides which series comes first.
        limits: Largest file.

    Yields:
        File, and its place from 0; ``None`` for a file that stands alone.
    """
    series: dict[object, list[tuple[Path, tuple[float | None, float, Any]]]] = {}
    for path in paths:
        try:
            file = DicomFile(path, path.name, limits)
            key: object = path if len(file) > 1 else _series_key(file)
            place = _place(file), _instance(file), natural_key(path.name)
        except BadSliceError:  # told when the file is read for its pixels
            key, place = path, (None, np.inf, ())
        series.setdefault(key, []).append((path, place))
    for members in series.values():
        known = all(place is not None for _, (place, _, _) in members)
        ordered = sorted(members, key=lambda member: (member[1][0] if known else 0.0, *member[1][1:]))
        for index, (path, _) in enumerate(ordered):
            yield path, index if len(ordered) > 1 else None


def _series_key(file: DicomFile) -> object:
    uid = element(file.header, file.name, "SeriesInstanceUID")
    normal = _normal(file, 0)
    return (str(uid), None if normal is None else tuple(np.round(np.abs(normal), 1))) if uid else file.path


def _normal(file: DicomFile, index: int) -> NDArray[np.float64] | None:
    """Across the slice, in RAS, towards right, anterior or superior; ``None`` where orientation is not known."""
    try:
        along = numbers(file.header, file.name, "ImageOrientationPatient", 6, "PlaneOrientationSequence", index)
    except BadSliceError:  # the picture is as good without it
        return None
    if along is None:
        return None
    normal = np.cross(along[:3], along[3:]) * _RAS
    main = normal[np.abs(normal).argmax()]
    return None if abs(main) < 0.5 else normal * np.sign(main)


def _place(file: DicomFile) -> float | None:
    try:
        position = numbers(file.header, file.name, "ImagePositionPatient", 3)
    except BadSliceError:
        return None
    normal = _normal(file, 0)
    return None if position is None or normal is None else float(np.dot(np.array(position) * _RAS, normal))


def _instance(file: DicomFile) -> float:
    try:
        found = numbers(file.header, file.name, "InstanceNumber", 1)
    except BadSliceError:
        return np.inf
    return np.inf if found is None else found[0]
