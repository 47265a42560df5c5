"""DICOM as a source of ``kdmri prepare``: one file, or the folder of a series, per row of a table.

Label and patient come from the table; nothing of the patient is read from the files.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdmri_monai.data.dicom_series import PIXELS, SUFFIXES, DicomFile, is_dicom, series_order
from kdmri_monai.data.errors import BadSliceError
from kdmri_monai.data.findings import Finding
from kdmri_monai.data.limits import ReadLimits
from kdmri_monai.data.records import RawSlice
from kdmri_monai.data.source_contract import files_below, readable_name
from kdmri_monai.data.source_nifti import MIN_FOREGROUND, foreground_threshold

_SAMPLED = 8  # one row and one column in eight tell what is foreground


@dataclass(frozen=True)
class DicomSource:
    """A DICOM file or a folder of them, with what a table says of it."""

    path: str
    name: str
    id: str
    label: int
    patient: str
    patient_source: str
    limits: ReadLimits
    plane: str | None = None

    @property
    def image_field(self) -> str:
        """A DICOM file has no other."""
        return PIXELS

    def slices(self) -> Iterator[RawSlice | Finding]:
        """A single picture as it is; of a series or of several frames the slices with enough foreground.

        The id of a slice of several is that of the row and the number of the slice, from 0. Every picture is decoded
        twice, so that a series of any length needs the memory of one.
        """
        places = self._places()
        threshold = self._threshold(places) if len(places) > 1 else None
        for number, (path, name, frame) in enumerate(places):
            try:
                file = DicomFile(path, name, self.limits)
                image = file.image(frame)
            except BadSliceError as error:
                yield Finding.of(error)
                continue
            if threshold is not None and np.mean(image.astype(np.float32) > threshold) < MIN_FOREGROUND:
                continue
            slice_id = self.id if len(places) == 1 else f"{self.id}/{number:03d}"
            plane = self.plane or file.plane(frame)
            yield RawSlice(slice_id, image, self.label, self.patient, self.patient_source, plane=plane)

    def _places(self) -> list[tuple[Path, str, int]]:
        """File, its name and frame of every picture, in order."""
        root, found = Path(self.path), []
        files = series_files(root) if root.is_dir() else [root]
        if not files:
            raise BadSliceError(self.name, "path", "is a folder without DICOM files")
        for path, _ in series_order(files, self.limits) if root.is_dir() else [(root, None)]:
            name = f"{self.name}/{readable_name(path, root)}" if root.is_dir() else self.name
            try:
                frames = len(DicomFile(path, name, self.limits))
            except BadSliceError:
                if not root.is_dir():
                    raise
                frames = 1  # what is wrong is told in its turn
            found += [(path, name, frame) for frame in range(frames)]
        return found

    def _threshold(self, places: list[tuple[Path, str, int]]) -> float:
        samples: list[NDArray[np.float32]] = []
        for path, name, frame in places:
            try:
                image = DicomFile(path, name, self.limits).image(frame)
            except BadSliceError:  # told when its slice is read
                continue
            samples.append(image[::_SAMPLED, ::_SAMPLED].astype(np.float32).ravel())
        return foreground_threshold(np.concatenate(samples or [np.empty(0, np.float32)]), self.name)


def is_source(path: Path) -> bool:
    """Whether a path is a folder, or a DICOM file by its ending or its first bytes."""
    if path.is_dir() or path.name.lower().endswith(SUFFIXES):
        return True
    try:
        return path.is_file() and is_dicom(path)
    except BadSliceError:  # it cannot be opened, which is told where it is read
        return False


def series_files(folder: Path) -> list[Path]:
    """DICOM files of a folder, at any depth, in natural order."""
    return [path for path in files_below(folder, [""]) if is_source(path)]
