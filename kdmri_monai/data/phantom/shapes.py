"""Implicit shapes: signed distances on a grid of head coordinates, soft edges, smooth noise.

Head coordinates run over -1..1 in the square image: x to the right of the picture, y downwards. Distances are positive
inside and in the same unit, half the side of the image.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Field = NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """Coordinates of the pixels.

    Attributes:
        x: Shape ``(S, S)``.
        y: Shape ``(S, S)``.
    """

    x: Field
    y: Field

    @property
    def size(self) -> int:
        """Side ``S`` in pixels."""
        return self.x.shape[0]

    def moved(self, dx: Field | float, dy: Field | float) -> "Grid":
        """The grid as seen after a displacement; shapes drawn on it are displaced."""
        return Grid(self.x + dx, self.y + dy)


def square_grid(size: int, angle: float = 0.0, zoom: float = 1.0) -> Grid:
    """Grid of ``size`` pixels a side, turned by ``angle`` radians and enlarged by ``zoom``."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j] / zoom
    return Grid(np.cos(angle) * x + np.sin(angle) * y, -np.sin(angle) * x + np.cos(angle) * y)


def ellipse(grid: Grid, x: float, y: float, a: float, b: float, power: float = 2.0, angle: float = 0.0) -> Field:
    """About the signed distance to a superellipse of half axes ``a`` and ``b`` around ``(x, y)``."""
    u, v = grid.x - x, grid.y - y
    u, v = np.cos(angle) * u + np.sin(angle) * v, -np.sin(angle) * u + np.cos(angle) * v
    radius = (np.abs(u / a) ** power + np.abs(v / b) ** power) ** (1 / power)
    return (1 - radius) * min(a, b)


def blob(grid: Grid, x: float, y: float, radius: float, harmonics: Field) -> Field:
    """About the signed distance to a disc whose radius varies with the angle.

    Args:
        grid: Where.
        x: Centre.
        y: Centre.
        radius: Mean radius.
        harmonics: Amplitude (relative to the radius) and phase of waves 2, 3, ..., shape ``(N, 2)``.
    """
    u, v = grid.x - x, grid.y - y
    angle, distance = np.arctan2(v, u), np.hypot(u, v)
    outline = np.ones_like(distance)
    for wave, (amplitude, phase) in enumerate(harmonics, start=2):
        outline += amplitude * np.cos(wave * angle + phase)
    return radius * outline - distance


def union(*distances: Field) -> Field:
    """Signed distance to the union of shapes."""
    return np.maximum.reduce(distances)


def cover(distance: Field, width: float = 0.01) -> Field:
    """Share of every pixel that lies inside, 0..1, with an edge of ``width``."""
    return np.clip(0.5 + distance / width, 0.0, 1.0)


def paint(image: Field, share: Field, value: Field | float) -> Field:
    """The image with ``value`` laid over it where ``share`` is one."""
    return image + share * (value - image)


def smooth_noise(rng: np.random.Generator, grid: Grid, scale: float) -> Field:
    """Noise of mean 0 and deviation 1 whose structures are about ``scale`` wide; equal at every image size.

    It is drawn on a coarse lattice of the head, so that a phantom of 128 pixels shows what one of 512 does.
    """
    cells = 96
    lattice = gaussian_filter(rng.standard_normal((cells, cells)), scale * cells / 4, mode="wrap")
    lattice = (lattice - lattice.mean()) / lattice.std()
    return _sample(lattice, grid)


def _sample(lattice: Field, grid: Grid) -> Field:
    cells = lattice.shape[0]
    u, v = (grid.x + 1.25) / 2.5 * cells, (grid.y + 1.25) / 2.5 * cells
    i, j = np.floor(v).astype(int), np.floor(u).astype(int)
    s, t = v - i, u - j
    i0, i1, j0, j1 = i % cells, (i + 1) % cells, j % cells, (j + 1) % cells
    top = lattice[i0, j0] * (1 - t) + lattice[i0, j1] * t
    low = lattice[i1, j0] * (1 - t) + lattice[i1, j1] * t
    return top * (1 - s) + low * s
