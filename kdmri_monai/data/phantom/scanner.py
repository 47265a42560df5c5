"""What the scanner adds: coil shading, contrast, blur, Rician noise, and a range of numbers of its own for every
slice."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from kdmri_monai.data.phantom.shapes import Field, Grid, smooth_noise


@dataclass(frozen=True)
class Scanner:
    """How a scanner renders a head.

    Attributes:
        gamma: Range of the exponent that is put on brightness.
        noise: Range of the noise's deviation, brightness.
        blur: Deviation of the point spread, head coordinates.
        shading: Range of the coil's shading, relative.
    """

    gamma: tuple[float, float] = (0.85, 1.25)
    noise: tuple[float, float] = (0.012, 0.035)
    blur: float = 0.004
    shading: tuple[float, float] = (0.03, 0.15)


USUAL = Scanner()
MARKED = Scanner(gamma=(1.45, 1.75), noise=(0.05, 0.07), blur=0.008, shading=(0.03, 0.15))
"""With the shortcut on, the scanner of most gliomas: darker grey tones and a grainy background all over the slice."""


def acquire(image: Field, grid: Grid, scan: np.random.Generator, scanner: Scanner = USUAL) -> NDArray[np.int16]:
    """The slice as numbers from a scanner.

    Args:
        image: Brightness, 0..1, shape ``(S, S)``.
        grid: Its head coordinates.
        scan: Draws what tells one acquisition from another.
        scanner: How it renders.

    Returns:
        Pixels, shape ``(S, S)``; the largest value differs between slices.
    """
    shade = np.exp(scan.uniform(*scanner.shading) * smooth_noise(scan, grid, 0.9))
    signal = np.clip(image, 0, 1.2) ** scan.uniform(*scanner.gamma) * shade
    signal = gaussian_filter(signal, scanner.blur * grid.size / 2)
    deviation = scan.uniform(*scanner.noise)
    real, imaginary = deviation * scan.standard_normal((2, *signal.shape))
    magnitude = np.hypot(signal + real, imaginary)
    top = np.exp(scan.uniform(np.log(350), np.log(6000)))
    return np.round(magnitude / magnitude.max() * top).astype(np.int16)
