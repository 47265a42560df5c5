"""Numbers of a slice that know no shape of a tumour: brightness, air, place of the head, spectrum, edges, noise.

What they tell of the class without the tumour is told by scanner, protocol, plane or person, as a shortcut is.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from kdmri_monai.networks.inpainting import inpaint

Array = NDArray[np.float64]

BINS, BANDS, STRIP = 16, 8, 2
CHUNK = 32
"""Slices at a time: what a processor's cache holds."""
_LAPLACE_DIFFERENCE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float64)

NAMES = (
    *("head mean", "head deviation", "head skewness"),
    *(f"head histogram {k}" for k in range(BINS)),
    *("air mean", "air deviation", "air noise", "head noise"),
    *("head area", "head top", "head bottom", "head left", "head right"),
    *(f"spectrum band {k}" for k in range(BANDS)),
    *("upper edge", "lower edge", "left edge", "right edge"),
)
"""Names of the features, F of them."""


def low_level_features(images: NDArray[np.floating], hole: NDArray[np.bool_] | None = None) -> Array:
    """Features of slices, of which holes are left out, or inpainted where there is no leaving out.

    Statistics of brightness and noise leave the hole out; outline of the head and spectrum see it inpainted. No pixel
    of a hole has any influence.

    Args:
        images: Intensities 0..1, shape ``(N, H, W)``, at least 16 pixels a side.
        hole: Pixels to be left out, shape ``(N, H, W)``; none by default.

    Returns:
        Shape ``(N, F)``, finite, in the order of ``NAMES``: numbers of what a slice lacks (air) are 0.

    Raises:
        ValueError: Shapes that do not fit, images that are too small, a hole as large as an image.
    """
    if images.ndim != 3 or min(images.shape[1:]) < 16 or (hole is not None and hole.shape != images.shape):
        shapes = f"images {images.shape}, hole {None if hole is None else hole.shape}"
        raise ValueError(f"{shapes}: expected two of (N, H, W), at least 16 pixels a side")
    hole = np.zeros(images.shape, dtype=bool) if hole is None else hole
    starts = range(0, len(images), CHUNK)
    parts = [_features(images[start : start + CHUNK], hole[start : start + CHUNK]) for start in starts]
    return np.concatenate(parts) if parts else np.zeros((0, len(NAMES)))


def _features(images: NDArray[np.floating], hole: NDArray[np.bool_]) -> Array:
    given = torch.from_numpy(np.asarray(images[:, None], dtype=np.float32))
    filled: Array = inpaint(given, torch.from_numpy(hole[:, None]))[:, 0].numpy().astype(np.float64)
    head = np.stack([head_of(image) for image in filled])
    air = ~ndimage.binary_dilation(head, np.ones((1, 5, 5), dtype=bool))
    seen = head & ~hole
    residual = np.abs(ndimage.convolve(filled, _LAPLACE_DIFFERENCE[None], mode="nearest"))
    untouched = ~ndimage.binary_dilation(hole, np.ones((1, 3, 3), dtype=bool))
    air_mean, air_deviation, _ = moments(filled, air)
    columns = [
        *moments(filled, seen),
        *histogram(filled, seen).T,
        *(air_mean, air_deviation),
        *(noise_level(residual, region & untouched) for region in (air, head)),
        *extent(head).T,
        *spectrum(filled).T,
        *edges(filled).T,
    ]
    return np.stack(columns, axis=1)


def head_of(image: Array) -> NDArray[np.bool_]:
    """The largest bright part of a slice with what it encloses, shape ``(H, W)``; nothing of an even slice.

    Bright is what lies above a quarter of the way from the mean of the pixels below Otsu's threshold, which are mostly
    air, to the mean of those above it.
    """
    if image.max() - image.min() < 1e-6:
        return np.zeros(image.shape, dtype=bool)
    above = image > threshold_otsu(image)
    dark, bright = image[~above].mean(), image[above].mean()
    parts, _ = ndimage.label(image > dark + (bright - dark) / 4)
    largest = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(largest)
    return filled


def moments(images: Array, region: NDArray[np.bool_]) -> tuple[Array, Array, Array]:
    """Mean, standard deviation and skewness of a region, shape ``(N,)`` each; 0 where it is empty or even."""
    count = np.maximum(region.sum((1, 2)), 1)
    mean = np.where(region, images, 0).sum((1, 2)) / count
    centred = np.where(region, images - mean[:, None, None], 0)
    deviation = np.sqrt((centred**2).sum((1, 2)) / count)
    third = (centred**3).sum((1, 2)) / count
    return mean, deviation, third / np.maximum(deviation, 1e-6) ** 3


def histogram(images: Array, region: NDArray[np.bool_]) -> Array:
    """Shares of a region in equal bins of 0..1, shape ``(N, BINS)``; what is beyond counts in the outermost."""
    level = np.clip((images * BINS).astype(np.int64), 0, BINS - 1) + BINS * np.arange(len(images))[:, None, None]
    counts = np.bincount(level[region], minlength=BINS * len(images)).reshape(-1, BINS)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def noise_level(residual: Array, region: NDArray[np.bool_]) -> Array:
    """Standard deviation of the noise in a region, shape ``(N,)``; 0 where it is empty.

    Source: Immerkaer, "Fast noise variance estimation", Computer Vision and Image Understanding 1996: the mean absolute
    response of the difference of two Laplacians, times ``sqrt(pi / 2) / 6``.

    Args:
        residual: Absolute response, shape ``(N, H, W)``.
        region: Where it is averaged, same shape.
    """
    mean = np.where(region, residual, 0).sum((1, 2)) / np.maximum(region.sum((1, 2)), 1)
    return np.sqrt(np.pi / 2) / 6 * mean


def extent(head: NDArray[np.bool_]) -> Array:
    """Share of the image that the head takes, and its bounding box in shares of the image, shape ``(N, 5)``."""
    columns = [head.mean((1, 2))]
    for axis in (2, 1):
        taken = np.any(head, axis=axis)
        some = taken.any(axis=1)
        first, last = taken.argmax(axis=1), taken.shape[1] - taken[:, ::-1].argmax(axis=1)
        columns += [np.where(some, place, 0) / taken.shape[1] for place in (first, last)]
    return np.stack(columns, axis=1)


def spectrum(images: Array) -> Array:
    """Logarithm of the share of energy in bands of spatial frequency, shape ``(N, BANDS)``.

    Bands are of equal width, from 0 to half a cycle a pixel; a Hann window takes the edges of the image away. The mean
    of an image has no share.
    """
    rows, columns = images.shape[1:]
    window = np.hanning(rows)[:, None] * np.hanning(columns)
    centred = images - images.mean((1, 2), keepdims=True)
    energy = np.abs(np.fft.fft2(centred * window)) ** 2
    radius = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.fftfreq(columns))
    band = np.minimum((radius * 2 * BANDS).astype(np.int64), BANDS)  # the corners beyond belong to none
    sums = np.stack([energy[:, band == k].sum(axis=1) for k in range(BANDS)], axis=1)
    return np.log10((sums + 1e-12) / (sums.sum(axis=1, keepdims=True) + BANDS * 1e-12))


def edges(images: Array) -> Array:
    """Mean brightness along the upper, lower, left and right edge, shape ``(N, 4)``."""
    strips = images[:, :STRIP], images[:, -STRIP:], images[:, :, :STRIP], images[:, :, -STRIP:]
    return np.stack([strip.mean((1, 2)) for strip in strips], axis=1)
