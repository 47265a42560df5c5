"""NIfTI volumes, cut into slices.

A volume is turned to the closest RAS axes without interpolation and shown in radiological convention: axial and
coronal slices have the patient's right on the left of the picture, anterior or superior up; sagittal slices have
anterior on the left, superior up. Pixels that are not square are made so, at the finer of the two spacings.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdmri_monai.data.errors import BadSliceError
from kdmri_monai.data.findings import Finding, Remark
from kdmri_monai.data.limits import ReadLimits
from kdmri_monai.data.nifti_volume import NORMAL, VOXELS, LoadedVolume
from kdmri_monai.data.pixels import check_image
from kdmri_monai.data.records import RawSlice
from kdmri_monai.data.square_pixels import square_pixels, squared
from kdmri_monai.data.taxonomy import PLANES

SUFFIXES = (".nii", ".nii.gz")
MIN_FOREGROUND = 0.10
"""Share of a slice's pixels that must be foreground for it to be used, in a volume without a mask."""
FOREGROUND_LEVEL = 0.10
"""Foreground is brighter than this share of the way from the 1st to the 99th percentile of the volume."""


@dataclass(frozen=True)
class Volume:
    """One volume with what a table says of it."""

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
        """A volume has no other."""
        return "voxels"

    def slices(self) -> Iterator[RawSlice | Finding | Remark]:
        """Slices along the plane, from left, posterior or inferior on: with tumour, or with enough foreground.

        The id of a slice is that of the volume and the number of the slice along the RAS axis, from 0.
        """
        plane = self.plane or PLANES[0]
        volume = LoadedVolume(self.path, self.name, VOXELS, self.limits)
        mask = LoadedVolume(self.mask, self.name, "mask", self.limits) if self.mask is not None else None
        if mask is not None and not volume.same_grid(mask):
            got, want = (" x ".join(map(str, grid.data.shape)) for grid in (mask, volume))
            reason = f"is not on the grid of the image: {got} voxels for {want}, or another affine"
            raise BadSliceError(self.name, "mask", reason)
        if not volume.oriented:
            yield Remark(self.name, "orientation", "is not in the header; kept as if the file were in its default one")
        threshold = foreground_threshold(volume.sample(), self.name)
        for index in range(volume.data.shape[NORMAL[plane]]):
            tumour = None if mask is None else mask.upright(plane, index) != 0
            if tumour is not None and not tumour.any():
                continue
            image = volume.upright(plane, index)
            if tumour is None and np.mean(image > threshold) < MIN_FOREGROUND:
                continue
            yield self._slice(image, tumour, volume.spacing(plane), plane, index)

    def _slice(
        self,
        image: NDArray[np.float32],
        tumour: NDArray[np.bool_] | None,
        spacing: tuple[float, float],
        plane: str,
        index: int,
    ) -> RawSlice | Finding:
        name = f"{self.name} slice {index}"
        try:
            pixels = squared(image, spacing, name, VOXELS, self.limits)
            check_image(pixels, name, VOXELS, self.limits)
        except BadSliceError as error:
            return Finding.of(error)
        mask = None if tumour is None else square_pixels(tumour.astype(np.float32), spacing) >= 0.5
        slice_id = f"{self.id}/{index:03d}"
        return RawSlice(slice_id, pixels, self.label, self.patient, self.patient_source, mask, plane=plane)


def foreground_threshold(sample: NDArray[np.float32], name: str) -> float:
    """Value above which a voxel counts as foreground.

    Args:
        sample: Voxels of a volume, any shape.
        name: Name for people.

    Raises:
        BadSliceError: No voxel is finite.
    """
    finite = sample[np.isfinite(sample)]
    if not finite.size:
        raise BadSliceError(name, "voxels", "are all NaN or infinite")
    low, high = np.percentile(finite, [1, 99])
    return float(low + FOREGROUND_LEVEL * (high - low))
