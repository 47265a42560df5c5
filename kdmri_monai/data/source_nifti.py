"""NIfTI volumes, cut into slices.

A volume is turned to the closest RAS axes without interpolation and shown in radiological convention: axial and
coronal slices have the patient's right on the left of the picture, anterior or superior up; sagittal slices have
anterior on the left, superior up. Pixels that are not square are made so, at the finer of the two spacings.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kdmri_monai.data.errors import BadSliceError
from kdmri_monai.data.findings import Finding, Remark
from kdmri_monai.data.limits import ReadLimits
from kdmri_monai.data.pixels import check_image
from kdmri_monai.data.records import RawSlice
from kdmri_monai.data.taxonomy import PLANES

SUFFIXES = (".nii", ".nii.gz")
MIN_FOREGROUND = 0.10
"""Share of a slice's pixels that must be foreground for it to be used, in a volume without a mask."""
FOREGROUND_LEVEL = 0.10
"""Foreground is brighter than this share of the way from the 1st to the 99th percentile of the volume."""
_NORMAL = {"sagittal": 0, "coronal": 1, "axial": 2}
_SQUARE = 1.05  # spacings closer than this count as equal
_FAILURES = (OSError, ValueError, EOFError, zlib.error, OverflowError)


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
        volume = _Loaded(self.path, self.name, "voxels", self.limits)
        mask = _Loaded(self.mask, self.name, "mask", self.limits) if self.mask is not None else None
        if mask is not None and not volume.same_grid(mask):
            got, want = (" x ".join(map(str, grid.data.shape)) for grid in (mask, volume))
            reason = f"is not on the grid of the image: {got} voxels for {want}, or another affine"
            raise BadSliceError(self.name, "mask", reason)
        if not volume.oriented:
            yield Remark(self.name, "orientation", "is not in the header; kept as if the file were in its default one")
        threshold = foreground_threshold(volume.sample(), self.name)
        for index in range(volume.data.shape[_NORMAL[plane]]):
            tumour = None if mask is None else mask.upright(plane, index) != 0
            if tumour is not None and not tumour.any():
                continue
            image = volume.upright(plane, index)
            if tumour is None and np.mean(image > threshold) < MIN_FOREGROUND:
                continue
            yield self._slice(square_pixels(image, volume.spacing(plane)), tumour, volume.spacing(plane), plane, index)

    def _slice(
        self,
        image: NDArray[np.float32],
        tumour: NDArray[np.bool_] | None,
        spacing: tuple[float, float],
        plane: str,
        index: int,
    ) -> RawSlice | Finding:
        try:
            check_image(image, f"{self.name} slice {index}", "voxels", self.limits)
        except BadSliceError as error:
            return Finding.of(error)
        mask = None if tumour is None else square_pixels(tumour.astype(np.float32), spacing) >= 0.5
        slice_id = f"{self.id}/{index:03d}"
        return RawSlice(slice_id, image, self.label, self.patient, self.patient_source, mask, plane=plane)


class _Loaded:
    """Voxels of a file as stored, seen along RAS axes; scaled a slice at a time to save memory."""

    def __init__(self, path: str, name: str, field: str, limits: ReadLimits) -> None:
        import nibabel as nib  # not at the top: the other sources start faster without
        from nibabel.filebasedimages import ImageFileError
        from nibabel.spatialimages import HeaderDataError

        try:
            image = nib.load(path, mmap=False)
        except (*_FAILURES, ImageFileError, HeaderDataError) as error:
            raise BadSliceError(name, field, f"is not readable as NIfTI: {error}") from error
        _check_header(image, name, field, limits)
        try:
            data = np.asarray(image.dataobj.get_unscaled())
        except _FAILURES as error:
            raise BadSliceError(name, field, f"is truncated or damaged: {error}") from error
        self.affine = image.affine
        self.oriented = bool(image.header["sform_code"] or image.header["qform_code"])
        orientation = nib.io_orientation(image.affine)
        self.data = nib.apply_orientation(data.reshape(data.shape[:3]), orientation)
        zooms = np.asarray(image.header.get_zooms()[:3], float)
        self._zooms = zooms[np.argsort(orientation[:, 0])]
        self._slope, self._intercept = float(image.dataobj.slope), float(image.dataobj.inter)

    def same_grid(self, other: "_Loaded") -> bool:
        return self.data.shape == other.data.shape and np.allclose(self.affine, other.affine, atol=1e-3)

    def sample(self) -> NDArray[np.float32]:
        """At most about a million voxels, evenly spread."""
        step = max(1, round((self.data.size / 1e6) ** (1 / 3)))
        return self._scaled(self.data[::step, ::step, ::step])

    def upright(self, plane: str, index: int) -> NDArray[np.float32]:
        """Slice ``index`` along the RAS axis of the plane, rows first, in radiological convention."""
        across = self.data.take(index, axis=_NORMAL[plane])
        return self._scaled(np.ascontiguousarray(across[::-1, ::-1].T))

    def spacing(self, plane: str) -> tuple[float, float]:
        """Millimetres between rows and between columns of an upright slice."""
        columns, rows = np.delete(self._zooms, _NORMAL[plane])
        return float(rows), float(columns)

    def _scaled(self, data: NDArray[np.generic]) -> NDArray[np.float32]:
        return (data.astype(np.float64) * self._slope + self._intercept).astype(np.float32)


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


def square_pixels(image: NDArray[np.float32], spacing: tuple[float, float]) -> NDArray[np.float32]:
    """An image resampled, linearly, to the finer of its two spacings.

    Args:
        image: Shape ``(rows, columns)``.
        spacing: Distance between rows and between columns, same unit.

    Returns:
        Shape ``(rows', columns')``; the image itself where the spacings agree to 5 %.
    """
    finest = min(spacing)
    if finest <= 0 or max(spacing) / finest < _SQUARE:
        return image
    rows, columns = (max(1, round(n * step / finest)) for n, step in zip(image.shape, spacing, strict=True))
    return np.asarray(Image.fromarray(image).resize((columns, rows), Image.Resampling.BILINEAR))


def _check_header(image: Any, name: str, field: str, limits: ReadLimits) -> None:
    shape = tuple(image.shape)
    text = " x ".join(map(str, shape))
    if len(shape) < 3 or any(n != 1 for n in shape[3:]) or 0 in shape:
        raise BadSliceError(name, field, f"have {text} voxels, three dimensions are expected")
    kind = image.get_data_dtype()
    if kind.kind not in "iuf" or kind.itemsize > 8:
        raise BadSliceError(name, field, f"are of type {kind}, real numbers are expected")
    needed = int(np.prod(shape, dtype=object)) * kind.itemsize
    if needed > limits.volume_bytes:
        reason = f"need {needed:,} bytes ({text} of {kind}), allowed are {limits.volume_bytes:,}"
        raise BadSliceError(name, field, reason)
    if max(shape) > limits.side:
        raise BadSliceError(name, field, f"have {text} voxels, at most {limits.side} on a side are allowed")
    if not np.isfinite(image.affine).all() or abs(np.linalg.det(image.affine[:3, :3])) < 1e-9:
        raise BadSliceError(name, field, "have no usable affine in the header")
