"""Textures: folds of the brain, leaves of the cerebellum, fat and muscle of the face."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from kdmri_monai.data.phantom.atlas import SIGNALS
from kdmri_monai.data.phantom.noise import field, grid, heights
from kdmri_monai.data.phantom.shapes import Array

FINE = 256  # rows of the sheet from which the folds are read
STRETCH = 0.42  # sulci run towards the centre: along a radius the noise is read this much slower


def cortex(person: np.random.Generator, size: int, cavity: Array, centre: NDArray[np.float64], level: float) -> Array:
    """Grey ribbon, white matter and sulci.

    Sulci are where a smooth field crosses zero; the field is read along stretched radii, so that most sulci point at
    the centre, and it turns slowly into another one from slice to slice. They fade with the depth under the skull.

    Args:
        person: Draws the folds.
        size: Rows and columns, pixels.
        cavity: Share of every pixel inside the skull, shape ``(S, S)``.
        centre: Point (x, y) to which the sulci run.
        level: Place of the slice, -1..1.

    Returns:
        Brightness, shape ``(S, S)``.
    """
    first, second = (field(heights(person, 46), FINE) for _ in range(2))
    sheet = np.cos(0.7 * level) * first + np.sin(0.7 * level) * second
    x, y = grid(size)
    u, v = x - centre[0], y - centre[1]
    radius = np.sqrt(u * u + v * v) + 1e-3
    pull = (0.45 * (1 - STRETCH) + STRETCH * radius) / radius
    where = np.stack([centre[1] + v * pull, centre[0] + u * pull]) * (FINE / 2) + (FINE / 2 - 0.5)
    folds = map_coordinates(sheet, where, order=1, mode="nearest")
    slope = np.hypot(*np.gradient(folds)) * (size / 2) + 4.0
    crossing = np.abs(folds) / slope  # about the distance to the next sulcus
    surface = 1 - gaussian_filter(cavity, 0.050 * size)  # 0.5 at the skull, 0 in the depth
    near = np.clip(surface / 0.36, 0, 1)
    ribbon = np.maximum(
        np.exp(-((crossing / 0.017) ** 2)) * np.clip(1.8 * near, 0, 1), np.clip(2.5 * (surface - 0.27), 0, 1)
    )
    sulcus = np.exp(-((crossing / 0.0075) ** 2)) * np.clip(1.7 * near - 0.35, 0, 0.9)
    mottle = 0.008 * field(heights(person, 40), size) + 0.012 * field(heights(person, 7), size)
    matter = SIGNALS["white"] + mottle + ribbon * (SIGNALS["grey"] - SIGNALS["white"])
    result: Array = (matter + sulcus * (SIGNALS["fluid"] - matter)).astype(np.float32)
    return result


def folia(person: np.random.Generator, size: int) -> Array:
    """Fine, nearly parallel leaves of the cerebellum; shape ``(size, size)``."""
    x, y = grid(size)
    bend = field(heights(person, 5), size)
    angle = person.uniform(-0.7, 0.3)
    phase = 140 * (np.cos(angle) * y + np.sin(angle) * x) + 3.5 * bend
    leaves: Array = (0.385 + 0.05 * np.sin(phase) + 0.02 * field(heights(person, 30), size)).astype(np.float32)
    return leaves


def soft_tissue(person: np.random.Generator, size: int) -> Array:
    """Muscle with strands of fat, as in face and neck; shape ``(size, size)``."""
    strands = np.exp(-((field(heights(person, 34), size) / 0.38) ** 2))
    patches = np.clip(0.7 + 0.8 * field(heights(person, 9), size), 0, 1)
    fat = (strands * patches).astype(np.float32)
    muscle = SIGNALS["muscle"] + 0.04 * field(heights(person, 35), size)
    mixed: Array = (muscle + fat * (0.78 - muscle)).astype(np.float32)
    return mixed


def mottled(person: np.random.Generator, size: int, tissue: str) -> Array:
    """A tissue that is uneven on the scale of muscle fibres; shape ``(size, size)``."""
    uneven = 1 + 0.13 * field(heights(person, 45), size) + 0.10 * field(heights(person, 14), size)
    signal: Array = (SIGNALS[tissue] * np.clip(uneven, 0.3, 2.0)).astype(np.float32)
    return signal
