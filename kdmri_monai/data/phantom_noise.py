"""Smooth random fields that look the same at every image size.

A field is a sheet of cubic B-splines with random heights; it can be read on a pixel grid or at any points.
"""

import numpy as np
from numpy.typing import NDArray

from kdmri_monai.data.phantom_shapes import Array, Points

_DEVIATION = 0.479  # of a sheet of B-splines with heights of deviation 1


def basis(position: NDArray[np.float64], cells: int) -> NDArray[np.float64]:
    """Cubic B-splines at positions -1..1 on ``cells`` cells; shape ``(len(position), cells + 3)``."""
    scaled = np.clip((position + 1) * (cells / 2), 0, cells - 1e-6)
    distance = np.abs(scaled[:, None] - np.arange(-1, cells + 2)[None, :])
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.maximum(2 - distance, 0) ** 3 / 6
    return np.where(distance < 1, near, far)


def heights(rng: np.random.Generator, cells: int) -> NDArray[np.float64]:
    """Random heights of a field with ``cells`` cells across the image and deviation 1."""
    return rng.standard_normal((cells + 3, cells + 3)) / _DEVIATION


def field(height: NDArray[np.float64], size: int) -> Array:
    """The field on the pixel grid, shape ``(size, size)``, y first."""
    rows = basis((np.arange(size) + 0.5) * (2 / size) - 1, len(height) - 3)
    return (rows @ height @ rows.T).astype(np.float32)


def field_at(height: NDArray[np.float64], points: Points) -> NDArray[np.float64]:
    """The field at ``points`` (x, y), shape ``(P,)``."""
    cells = len(height) - 3
    result: NDArray[np.float64] = np.einsum(
        "pi,ij,pj->p", basis(points[:, 1], cells), height, basis(points[:, 0], cells), optimize=True
    )
    return result


def grid(size: int) -> tuple[Array, Array]:
    """Pixel centres x, shape ``(1, size)``, and y, shape ``(size, 1)``."""
    centres = ((np.arange(size) + 0.5) * (2 / size) - 1).astype(np.float32)
    return centres[None, :], centres[:, None]
