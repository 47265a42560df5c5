"""From the stored values of a DICOM frame to grey values, dark to bright. Pure functions on arrays.

The window of the viewer is not applied: the range of a slice is found from its own pixels, as for every source.
Source: DICOM PS3.3, C.7.6.3.1.2 (photometric interpretation), C.11.1 (modality LUT), C.7.5.1.1.2 (pixel padding).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def grey_values(
    stored: NDArray[np.integer[Any]],
    slope: float = 1.0,
    intercept: float = 0.0,
    inverted: bool = False,
    padding: tuple[float, float] | None = None,
) -> NDArray[np.generic]:
    """Grey values of a frame with one sample a pixel.

    Args:
        stored: Whole numbers, shape ``(rows, columns)``.
        slope: Factor of the rescaling.
        intercept: What the rescaling adds.
        inverted: Whether small values are bright (MONOCHROME1).
        padding: Smallest and largest stored value that stands for "nothing was measured here".

    Returns:
        Same shape; the stored numbers themselves where nothing is to be done. Padding is as dark as the darkest pixel
        that was measured.
    """
    values: NDArray[Any] = stored
    if (slope, intercept) != (1.0, 0.0):
        values = (stored.astype(np.float64) * slope + intercept).astype(np.float32)
    if inverted:
        values = np.invert(values) if values.dtype.kind in "iu" else np.negative(values)
    if padding is None:
        return values
    padded = np.asarray(stored >= padding[0]) & np.asarray(stored <= padding[1])
    if not padded.any() or padded.all():
        return values
    darkest = values[~padded].min()
    return np.where(padded, darkest, values).astype(values.dtype)


def padding_range(value: float, limit: float | None, kind: np.dtype[np.generic]) -> tuple[float, float]:
    """Stored values that are padding, for numbers that may be written with the wrong sign.

    Args:
        value: Pixel padding value.
        limit: Pixel padding range limit, where there is one.
        kind: Type of the stored numbers.

    Returns:
        Smallest and largest, in the range of ``kind``.
    """
    ends = [int(np.int64(end).astype(kind)) for end in (value, value if limit is None else limit)]
    return float(min(ends)), float(max(ends))


def luma(colour: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Grey of a colour picture, as for a PNG or JPEG: ITU-R 601-2.

    Args:
        colour: Red, green and blue, shape ``(rows, columns, 3)``, uint8.
    """
    return np.asarray(Image.fromarray(colour).convert("L"))
