"""The voxels of a NIfTI file, turned to the closest RAS axes, and the slices that can be cut from them.

Slices are in radiological convention: axial and coronal ones have the patient's right on the left of the picture,
anterior or superior up; sagittal ones have anterior on the left, superior up.
"""

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdmri_monai.data.errors import BadSliceError
from kdmri_monai.data.limits import ReadLimits

VOXELS = "voxels"
"""Field of a finding about a volume."""
NORMAL = {"sagittal": 0, "coronal": 1, "axial": 2}
"""RAS axis that a plane is cut across."""
_FAILURES = (OSError, ValueError, EOFError, zlib.error, OverflowError)


class LoadedVolume:
    """Voxels of a file as stored, seen along RAS axes; scaled a slice at a time to save memory.

    Args:
        path: File.
        name: Name for people.
        field: What the file is to the user, for messages.
        limits: Largest volume.

    Attributes:
        data: Voxels as stored, axes from left, posterior and inferior on.
        oriented: Whether the header says how the patient lay.

    Raises:
        BadSliceError: Not NIfTI, too large, not three-dimensional, damaged.
    """

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

    def same_grid(self, other: "LoadedVolume") -> bool:
        """Whether both have the same voxels at the same places."""
        return self.data.shape == other.data.shape and np.allclose(self.affine, other.affine, atol=1e-3)

    def sample(self) -> NDArray[np.float32]:
        """At most about a million voxels, evenly spread."""
        step = max(1, round((self.data.size / 1e6) ** (1 / 3)))
        return self._scaled(self.data[::step, ::step, ::step])

    def upright(self, plane: str, index: int) -> NDArray[np.float32]:
        """Slice ``index`` along the RAS axis of the plane, rows first, in radiological convention."""
        across = self.data.take(index, axis=NORMAL[plane])
        return self._scaled(np.ascontiguousarray(across[::-1, ::-1].T))

    def spacing(self, plane: str) -> tuple[float, float]:
        """Millimetres between rows and between columns of an upright slice."""
        columns, rows = np.delete(self._zooms, NORMAL[plane])
        return float(rows), float(columns)

    def _scaled(self, data: NDArray[np.generic]) -> NDArray[np.float32]:
        return (data.astype(np.float64) * self._slope + self._intercept).astype(np.float32)


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
