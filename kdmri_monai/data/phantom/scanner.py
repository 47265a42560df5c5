"""What the scanner adds: coil shading, contrast, blur, Rician noise, another range of numbers on every slice."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from kdmri_monai.data.phantom.noise import field, heights
from kdmri_monai.data.phantom.shapes import Array


@dataclass(frozen=True)
class Scanner:
    """How a scanner renders heads.

    Attributes:
        gamma: Range of the exponent on brightness.
        noise: Range of the noise's deviation, brightness.
        grain: Width of a grain of noise, half fields of view; 0 is white noise.
        floor: Signal of the air around the head.
        zoom: Head size in its field of view, relative.
    """

    gamma: tuple[float, float]
    noise: tuple[float, float]
    grain: float
    floor: float
    zoom: float


A = Scanner(gamma=(0.92, 1.10), noise=(0.010, 0.020), grain=0.0, floor=0.0, zoom=1.0)
B = Scanner(gamma=(1.15, 1.35), noise=(0.014, 0.024), grain=0.006, floor=0.03, zoom=0.93)
"""Darker grey tones, coarse grain, a veil over the background, a larger field of view."""


def acquire(signal: Array, scan: np.random.Generator, scanner: Scanner) -> NDArray[np.int16]:
    """A slice as numbers from a scanner.

    Args:
        signal: Brightness, shape ``(S, S)``.
        scan: Draws what tells one acquisition from another.
        scanner: How it renders.

    Returns:
        Pixels, shape ``(S, S)``; the range of numbers is another one for every slice.
    """
    size = len(signal)
    gamma, deviation, shading = scan.uniform(*scanner.gamma), scan.uniform(*scanner.noise), scan.uniform(0.05, 0.14)
    scale = np.exp(scan.uniform(np.log(300), np.log(6000)))
    blurred = gaussian_filter(signal, 0.0045 * size / 2, truncate=3.0)
    bright = np.clip(blurred, 0, None) ** np.float32(gamma) * np.exp(
        np.float32(shading) * field(heights(scan, 2), size)
    )
    bright = bright + np.float32(scanner.floor)
    noise = scan.standard_normal((2, size, size), dtype=np.float32)
    if scanner.grain:
        noise = np.stack([gaussian_filter(part, scanner.grain * size / 2, truncate=3.0) for part in noise])
        noise /= noise.std()
    magnitude = np.hypot(bright + np.float32(deviation) * noise[0], np.float32(deviation) * noise[1])
    return np.clip(np.round(magnitude * scale), 0, 32767).astype(np.int16)
