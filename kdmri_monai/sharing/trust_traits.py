"""Simple numbers of a picture that anybody can check by eye: its grey levels, and whether its shape is that of a head.

All are of the picture as the image store holds it, percentiles 0.5 and 99.5 at 0 and 255, square: of the training
slices nothing else is left. Shapes are measured on a picture of ``SMALL`` pixels.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes
from skimage.measure import label, regionprops

from kdmri_monai.data.pixels import resample

SMALL = 64
DARK = 0.1
"""Share of the grey scale from which a pixel belongs to something and not to the background."""

GREY: Mapping[str, str] = MappingProxyType(
    {
        "grey_levels": "grey levels in use",
        "black": "share of black pixels",
        "white": "share of white pixels",
        "mean": "mean brightness",
        "quartile": "brightness that a quarter of the pixels exceed",
        "grain": "mean step between neighbouring pixels",
    }
)
"""What says that the input range is odd, by name."""

SHAPE: Mapping[str, str] = MappingProxyType(
    {
        "foreground": "share of the picture that is not dark",
        "corners": "mean brightness of the corners",
        "frame": "share of the picture's edge that is not dark",
        "largest": "share of the picture that its largest object takes",
        "alone": "share of what is not dark that belongs to the largest object",
        "solidity": "share of its convex hull that the largest object fills",
        "roundness": "width of the largest object over its length",
        "off_centre": "distance of the largest object from the middle of the picture",
        "symmetry": "likeness of the left and the mirrored right half of the largest object",
    }
)
"""What says that it is no head, by name."""

WORDS: Mapping[str, str] = MappingProxyType({**GREY, **SHAPE})

NARROWEST: Mapping[str, float] = MappingProxyType(dict.fromkeys(WORDS, 0.1) | {"grey_levels": 25.0})
"""Width of a range below which a difference says nothing, whatever the training slices were like."""


def traits(stored: NDArray[np.uint8]) -> dict[str, float]:
    """Every trait of one picture, by name.

    Args:
        stored: As the image store holds it, shape ``(S, S)``, S at least ``SMALL / 2``.

    Returns:
        Names of ``WORDS``. Shares, brightness and steps are 0..1, distances in sides of the picture, likeness is a
        correlation, -1..1.
    """
    return grey_traits(stored) | shape_traits(stored)


def grey_traits(stored: NDArray[np.uint8]) -> dict[str, float]:
    """Traits of ``GREY``."""
    grey = stored.astype(np.float64) / 255
    steps = np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean()
    return {
        "grey_levels": float(len(np.unique(stored))),
        "black": float((grey <= 0.02).mean()),
        "white": float((grey >= 0.98).mean()),
        "mean": float(grey.mean()),
        "quartile": float(np.quantile(grey, 0.75)),
        "grain": float(steps / 2),
    }


def shape_traits(stored: NDArray[np.uint8]) -> dict[str, float]:
    """Traits of ``SHAPE``; those of the largest object are 0 where all is dark."""
    small = resample(stored, SMALL).astype(np.float64) / 255
    bright = small >= DARK
    edge = np.concatenate([bright[0], bright[-1], bright[1:-1, 0], bright[1:-1, -1]])
    side = SMALL // 8
    outer = np.r_[:side, -side:0]
    return {
        "foreground": float(bright.mean()),
        "corners": float(small[np.ix_(outer, outer)].mean()),
        "frame": float(edge.mean()),
        **_largest_object(small, bright),
    }


def _largest_object(small: NDArray[np.float64], bright: NDArray[np.bool_]) -> dict[str, float]:
    objects = regionprops(label(bright, connectivity=1))
    if not objects:
        return dict.fromkeys(("largest", "alone", "solidity", "roundness", "off_centre", "symmetry"), 0.0)
    largest = max(objects, key=lambda one: one.area)
    filled = np.zeros_like(bright)
    filled[largest.slice] = binary_fill_holes(largest.image)
    [whole] = regionprops(filled.astype(np.uint8))
    centre = (np.array(whole.centroid) + 0.5) / SMALL - 0.5
    long = whole.axis_major_length
    return {
        "largest": float(whole.area / bright.size),
        "alone": float((bright & filled).sum() / bright.sum()),
        "solidity": float(whole.solidity) if whole.area > 2 else 1.0,
        "roundness": float(whole.axis_minor_length / long) if long > 0 else 1.0,
        "off_centre": float(np.hypot(*centre)),
        "symmetry": _likeness(small[whole.slice], small[whole.slice][:, ::-1]),
    }


def _likeness(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Pearson correlation; 0 where nothing varies."""
    if one.std() == 0 or other.std() == 0:
        return 0.0
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])
