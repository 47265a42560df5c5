"""One file of the Figshare brain tumour set: a MATLAB v7.3 struct ``cjdata``.

Source: J. Cheng, brain tumor dataset, doi 10.6084/m9.figshare.1512427, README.txt.

MATLAB stores by columns and HDF5 by rows, so arrays come transposed: upright is ``array.T``. ``tumorBorder`` is
already (x, y) of the upright image. MATLAB counts pixels from 1, so that its first pixel centre is (1, 1); a
``RawSlice`` counts from 0, therefore 1 is taken off both coordinates.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdmri_monai.data.errors import BadSliceError
from kdmri_monai.data.hdf5 import has_dataset, open_group, open_hdf5, read_dataset
from kdmri_monai.data.limits import ReadLimits
from kdmri_monai.data.pixels import check_image
from kdmri_monai.data.records import RawSlice
from kdmri_monai.data.taxonomy import CLASSES

LABEL, PID, IMAGE = "cjdata/label", "cjdata/PID", "cjdata/image"
MASK, BORDER = "cjdata/tumorMask", "cjdata/tumorBorder"
_SMALL = 65_536  # elements of a label, an id or a border


def read_cjdata(data: bytes, name: str, slice_id: str, limits: ReadLimits) -> RawSlice:
    """Parse and validate the bytes of one ``.mat`` file.

    Args:
        data: Content of the file.
        name: Where it comes from, for messages.
        slice_id: Name of the slice in the data set.
        limits: Largest image.

    Returns:
        The slice, upright; mask and border are ``None`` where the file has none.

    Raises:
        BadSliceError: Not HDF5; a field is missing, of the wrong kind or out of range; the mask differs in size.
    """
    with open_hdf5(data, name) as file:
        struct = open_group(file, name, "cjdata")
        label = _label(struct, name)
        patient = _patient(struct, name)
        image = read_dataset(struct, IMAGE, name, limits.side**2).T
        check_image(image, name, IMAGE, limits)
        return RawSlice(
            id=slice_id,
            image=image,
            label=label,
            patient=patient,
            patient_source=PID,
            mask=_mask(struct, image.shape, name) if has_dataset(struct, MASK, name) else None,
            border=_border(struct, name) if has_dataset(struct, BORDER, name) else None,
        )


def read_cjdata_image(data: bytes, name: str, limits: ReadLimits) -> NDArray[np.generic]:
    """The image of one ``.mat`` file; nothing else is looked at, neither label nor patient.

    Args:
        data: Content of the file.
        name: Where it comes from, for messages.
        limits: Largest image.

    Returns:
        Pixels, upright, shape ``(rows, columns)``.

    Raises:
        BadSliceError: Not HDF5; the image is missing, of the wrong kind or out of range.
    """
    with open_hdf5(data, name) as file:
        image = read_dataset(open_group(file, name, "cjdata"), IMAGE, name, limits.side**2).T
    check_image(image, name, IMAGE, limits)
    return image


def _label(struct: Any, name: str) -> int:
    """Class 0..2 of the 1..3 in the file."""
    values = read_dataset(struct, LABEL, name, _SMALL)
    allowed = f"allowed are 1..{len(CLASSES)}"
    if values.size != 1:
        raise BadSliceError(name, LABEL, f"has {values.size} values, one is needed; {allowed}")
    value = float(values.item())
    if value not in range(1, len(CLASSES) + 1):
        raise BadSliceError(name, LABEL, f"is {value:g}, {allowed}")
    return int(value) - 1


def _patient(struct: Any, name: str) -> str:
    """MATLAB text: character codes, UTF-16."""
    codes = read_dataset(struct, PID, name, _SMALL)
    if not codes.size:
        raise BadSliceError(name, PID, "is empty")
    if not np.issubdtype(codes.dtype, np.integer) or codes.min() < 0 or codes.max() > 0xFFFF:
        raise BadSliceError(name, PID, "is not text: character codes are expected")
    text = codes.ravel(order="K").astype("<u2").tobytes().decode("utf-16-le", errors="replace").strip()
    if not text or not text.isprintable() or "\ufffd" in text:
        raise BadSliceError(name, PID, f"is {text!r}, printable characters are expected")
    return text


def _mask(struct: Any, shape: tuple[int, ...], name: str) -> NDArray[np.bool_]:
    array = read_dataset(struct, MASK, name, max(_SMALL, 4 * shape[0] * shape[1])).T
    if array.shape != shape:
        got, want = (" x ".join(map(str, size)) for size in (array.shape, shape))
        raise BadSliceError(name, MASK, f"has {got} pixels, the image has {want}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise BadSliceError(name, MASK, "has values that are not finite")
    return array != 0


def _border(struct: Any, name: str) -> NDArray[np.float64] | None:
    """Points (x, y) counted from 0; ``None`` for a border without points."""
    values = read_dataset(struct, BORDER, name, _SMALL).astype(np.float64).ravel()
    if values.size % 2:
        raise BadSliceError(name, BORDER, f"has {values.size} numbers, pairs x, y are expected")
    if not np.isfinite(values).all():
        raise BadSliceError(name, BORDER, "has coordinates that are not finite")
    return values.reshape(-1, 2) - 1.0 if values.size else None
