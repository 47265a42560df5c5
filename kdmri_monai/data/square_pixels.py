"""Pixels that are not square made so."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kdmri_monai.data.errors import BadSliceError
from kdmri_monai.data.limits import ReadLimits

_SQUARE = 1.05  # spacings closer than this count as equal


def square_pixels(image: NDArray[np.float32], spacing: tuple[float, float]) -> NDArray[np.float32]:
    """An image resampled, linearly, to the finer of its two spacings.

    Args:
        image: Shape ``(rows, columns)``.
        spacing: Distance between rows and between columns, same unit.

    Returns:
        Shape ``(rows', columns')``; the image itself where the spacings agree to 5 %, or one is not positive.
    """
    if _agree(spacing):
        return image
    rows, columns = square_shape(image.shape, spacing)
    return np.asarray(Image.fromarray(image).resize((columns, rows), Image.Resampling.BILINEAR))


def square_shape(shape: tuple[int, ...], spacing: tuple[float, float]) -> tuple[int, int]:
    """Rows and columns after ``square_pixels``."""
    if _agree(spacing):
        return shape[0], shape[1]
    finest = min(spacing)
    rows, columns = (max(1, round(n * step / finest)) for n, step in zip(shape, spacing, strict=True))
    return rows, columns


def squared(
    image: NDArray[np.generic], spacing: tuple[float, float], name: str, field: str, limits: ReadLimits
) -> NDArray[np.generic]:
    """An image with square pixels, unless a spacing out of all proportion would make it too large.

    Args:
        image: Real pixels, shape ``(rows, columns)``; they stay of their type where nothing is to be done.
        spacing: Distance between rows and between columns, same unit.
        name: Where it comes from, for messages.
        field: The part that holds it, for messages.
        limits: Most rows or columns.

    Raises:
        BadSliceError: The square image would have too many rows or columns.
    """
    if _agree(spacing):
        return image
    shape = square_shape(image.shape, spacing)
    if max(shape) > limits.side:
        told = " x ".join(f"{step:g}" for step in spacing)
        reason = (
            f"would have {' x '.join(map(str, shape))} square pixels (spacing {told}), at most {limits.side} allowed"
        )
        raise BadSliceError(name, field, reason)
    return square_pixels(image.astype(np.float32, copy=False), spacing)


def _agree(spacing: tuple[float, float]) -> bool:
    """Whether nothing is to be done; NaN and infinity count as not known."""
    if not np.isfinite(spacing).all() or min(spacing) <= 0:
        return True
    return max(spacing) / min(spacing) < _SQUARE
