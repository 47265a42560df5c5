"""Smooth random fields that look the same at every image size.

A field is a sheet of cubic B-splines with random heights; it can be read on a pixel grid or at any points. Sums are
written out instead of left to a matrix library, whose order of additions differs between machines.
"""

import numpy as np
from numpy.typing import NDArray

from kdmri_monai.data.phantom.shapes import Array, Points

_DEVIATION = 0.479  # of a sheet of B-splines with heights of deviation 1


def heights(rng: np.random.Generator, cells: int) -> NDArray[np.float64]:
    """Heights, shape ``(cells + 3, cells + 3)``, of a field with ``cells`` cells across the image and deviation 1."""
    return rng.standard_normal((cells + 3, cells + 3)) / _DEVIATION


def _weights(position: NDArray[np.float64], cells: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """First of the four B-splines that are not zero at positions -1..1, shape ``(P,)``, and the four, ``(4, P)``."""
    scaled = np.clip((position + 1) * (cells / 2), 0, cells - 1e-6)
    first = scaled.astype(np.intp)
    t = scaled - first
    four = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6
    return first, four


def field(height: NDArray[np.float64], size: int) -> Array:
    """The field on the pixel grid, shape ``(size, size)``, y first."""
    first, four = _weights(np.linspace(1 / size - 1, 1 - 1 / size, size, dtype=np.float64), len(height) - 3)
    across = sum(weight * height[:, first + k] for k, weight in enumerate(four)).astype(np.float32)
    down = four.astype(np.float32)[:, :, None]
    result: Array = down[0] * across[first]
    for k in (1, 2, 3):
        result += down[k] * across[first + k]
    return result


def field_at(height: NDArray[np.float64], points: Points) -> NDArray[np.float64]:
    """The field at ``points`` (x, y), shape ``(P,)``."""
    (column, across), (row, down) = (_weights(points[:, axis], len(height) - 3) for axis in (0, 1))
    four = np.arange(4)[:, None]
    patch = height[row + four[:, None], column + four]  # (4, 4, P), y first
    result: NDArray[np.float64] = (patch * down[:, None] * across).sum(axis=(0, 1))
    return result


def grid(size: int) -> tuple[Array, Array]:
    """Pixel centres x, shape ``(1, size)``, and y, shape ``(size, 1)``."""
    centres = ((np.arange(size) + 0.5) * (2 / size) - 1).astype(np.float32)
    return centres[None, :], centres[:, None]
