"""From the pixels of a source to the pixels of the store: range, square, size. Pure functions on arrays."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kdmri_monai.data.errors import BadSliceError
from kdmri_monai.data.limits import ReadLimits

LOWER, UPPER = 0.5, 99.5
"""Percentiles of a slice's pixels that become 0 and 255."""


def check_image(image: NDArray[np.generic], name: str, field: str, limits: ReadLimits) -> None:
    """Refuse an image that no network should see.

    Args:
        image: Pixels, any shape and dtype.
        name: Where it comes from, for messages.
        field: The part that holds it, for messages.
        limits: Most rows or columns.

    Raises:
        BadSliceError: Empty, not 2-D, too large, not real numbers, not finite, or constant.
    """
    shape = " x ".join(map(str, image.shape))
    if image.size == 0:
        raise BadSliceError(name, field, "is empty")
    if image.ndim != 2:
        raise BadSliceError(name, field, f"has {image.ndim} dimensions ({shape}), 2 are expected")
    if max(image.shape) > limits.side:
        raise BadSliceError(name, field, f"has {shape} pixels, at most {limits.side} on a side are allowed")
    if image.dtype.kind not in "biuf":
        raise BadSliceError(name, field, f"has pixels of type {image.dtype}, real numbers are expected")
    if image.dtype.kind == "f" and not (finite := np.isfinite(image)).all():
        raise BadSliceError(name, field, f"has {finite.size - finite.sum()} of {finite.size} pixels NaN or infinite")
    if image.min() == image.max():
        raise BadSliceError(name, field, f"is constant: every pixel is {float(image.min()):g}")


def percentile_range(image: NDArray[np.generic]) -> tuple[float, float]:
    """The ``LOWER`` and ``UPPER`` percentile, as ``numpy.percentile`` with linear interpolation gives them.

    Exact; from a histogram for 8 and 16 bit integers, which takes half the time of a partial sort.

    Args:
        image: Finite real pixels, any shape.
    """
    if image.dtype.kind not in "iu" or image.dtype.itemsize > 2:
        lower, upper = np.percentile(image.astype(np.float64), [LOWER, UPPER])
        return float(lower), float(upper)
    flat, least = image.ravel(order="K"), int(image.min())
    ranked = np.cumsum(np.bincount(flat if least == 0 else np.subtract(flat, least, dtype=np.intp)))
    ranks = np.array([LOWER, UPPER]) / 100 * (flat.size - 1)
    below = np.searchsorted(ranked, np.floor(ranks), side="right")
    above = np.searchsorted(ranked, np.ceil(ranks), side="right")
    lower, upper = least + below + (above - below) * (ranks - np.floor(ranks))
    return float(lower), float(upper)


def to_bytes(image: NDArray[np.generic], lower: float, upper: float) -> NDArray[np.uint8]:
    """Pixels on 0..255: ``lower`` and below gives 0, ``upper`` and above 255, between them linear and rounded.

    Args:
        image: Real pixels, shape ``(rows, columns)``; 8 and 16 bit integers go through a table.
        lower: Value that becomes 0.
        upper: Value that becomes 255; larger than ``lower``.
    """
    if image.flags.f_contiguous and not image.flags.c_contiguous:
        return to_bytes(image.T, lower, upper).T  # a table is read several times faster in the order of memory
    if image.dtype.kind not in "iu" or image.dtype.itemsize > 2:
        return _scale(image.astype(np.float64), lower, upper)
    unsigned = np.dtype(f"u{image.dtype.itemsize}")
    values = np.arange(int(image.min()), int(image.max()) + 1)
    table = np.zeros(1 << (8 * image.dtype.itemsize), np.uint8)
    table[values.astype(image.dtype).view(unsigned)] = _scale(values.astype(np.float64), lower, upper)
    return np.take(table, image.view(unsigned), mode="clip")


def _scale(values: NDArray[np.float64], lower: float, upper: float) -> NDArray[np.uint8]:
    return np.rint(np.clip((values - lower) * 255.0 / (upper - lower), 0.0, 255.0)).astype(np.uint8)


def pad_to_square(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Zeros on both sides of the shorter dimension; an odd one goes to the end.

    Args:
        image: Shape ``(rows, columns)``.

    Returns:
        Shape ``(n, n)`` with ``n`` the larger of rows and columns; the image itself where it is square.
    """
    side = max(image.shape)
    if image.shape == (side, side):
        return image
    top, left = _margins(image.shape)
    square = np.zeros((side, side), image.dtype)
    square[top : top + image.shape[0], left : left + image.shape[1]] = image
    return square


def resample(square: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """Area means where the image shrinks, bilinear interpolation where it grows.

    Args:
        square: Shape ``(n, n)``.
        size: New side ``S``.

    Returns:
        Unrounded values, shape ``(S, S)``.
    """
    side = square.shape[0]
    if side == size:
        return square.astype(np.float32)
    if side % size == 0:
        return _block_mean(square, side // size)
    if side > size:
        return _area_mean(square, size)
    return np.asarray(Image.fromarray(square.astype(np.float32)).resize((size, size), Image.Resampling.BILINEAR))


def _area_mean(square: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """Means over new pixels that cut old ones, in whole numbers: the result is the same everywhere.

    Along each axis, the integral up to an edge at ``k n / S`` is the sum of the whole pixels before it and the cut
    share of the next one; all is multiplied by ``S``.
    """
    side = square.shape[0]
    whole, cut = np.divmod(np.arange(size + 1) * side, size)
    total = square.astype(np.int64)
    for _ in range(2):
        before = np.concatenate([np.zeros((1, total.shape[1]), np.int64), np.cumsum(total, axis=0)])
        following = np.concatenate([total, np.zeros((1, total.shape[1]), np.int64)])
        total = np.diff(size * before[whole] + cut[:, None] * following[whole], axis=0).T
    return (total / side**2).astype(np.float32)


def _block_mean(square: NDArray[np.uint8], factor: int) -> NDArray[np.float32]:
    """Sum strided views, along the longer stride first: many times faster than a reduction over a reshaped array."""
    if square.flags.f_contiguous:
        return np.ascontiguousarray(_block_mean(np.ascontiguousarray(square.T), factor).T)
    rows: NDArray[np.uint32] = square[0::factor].astype(np.uint32 if factor > 16 else np.uint16)
    for offset in range(1, factor):
        rows += square[offset::factor]
    total = rows[:, 0::factor].copy()
    for offset in range(1, factor):
        total += rows[:, offset::factor]
    return total.astype(np.float32) / np.float32(factor * factor)


def store_image(image: NDArray[np.generic], size: int, name: str, field: str) -> NDArray[np.uint8]:
    """An image as the store holds it.

    Args:
        image: Upright pixels that passed ``check_image``, shape ``(rows, columns)``.
        size: Side ``S`` of the stored image.
        name: Where it comes from, for messages.
        field: The part that holds it, for messages.

    Returns:
        Shape ``(S, S)``.

    Raises:
        BadSliceError: So many pixels are equal that the two percentiles are, too.
    """
    lower, upper = percentile_range(image)
    if not upper > lower:
        reason = f"is nearly constant: its {LOWER} % and {UPPER} % percentiles are both {lower:g}"
        raise BadSliceError(name, field, reason)
    return np.rint(resample(pad_to_square(to_bytes(image, lower, upper)), size)).astype(np.uint8)


def store_mask(mask: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """A mask as the store holds it: pixels at least half covered.

    Args:
        mask: Shape ``(rows, columns)``.
        size: Side ``S`` of the stored image.

    Returns:
        Shape ``(S, S)``.
    """
    return resample(pad_to_square(mask.astype(np.uint8)), size) >= 0.5 - 1e-6


def store_points(points: NDArray[np.float64], shape: tuple[int, int], size: int) -> NDArray[np.float64]:
    """Points of an image, in pixels of the stored image; pixel centres are whole numbers in both.

    Args:
        points: Columns x and y, pixels counted from 0, shape ``(P, 2)``.
        shape: Rows and columns of the image.
        size: Side ``S`` of the stored image.

    Returns:
        Shape ``(P, 2)``.
    """
    top, left = _margins(shape)
    return (points + np.array([left, top]) + 0.5) * (size / max(shape)) - 0.5


def _margins(shape: tuple[int, ...]) -> tuple[int, int]:
    side = max(shape)
    return (side - shape[0]) // 2, (side - shape[1]) // 2
