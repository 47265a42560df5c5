"""Corruptions of brightness: noise, coil shading, contrast.

Each takes images 0..1 and numbers drawn beforehand, so that several strengths share one draw, and gives images 0..1.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Generator, Tensor

DEGREE = 3
"""Highest total degree of the polynomials of a bias field."""


def draw_noise(generator: Generator, size: Sequence[int]) -> Tensor:
    """Standard normal noise of the two channels of a receiver, shape ``(2, H, W)``."""
    return torch.randn(2, *size, generator=generator)


def rician_noise(image: Tensor, percent: float, noise: Tensor) -> Tensor:
    """Magnitude of a complex signal with noise in both channels.

    Source: Gudbjartsson and Patz, "The Rician distribution of noisy MRI data", Magn Reson Med 1995, eq. 1.

    Args:
        image: Shape ``(B, 1, H, W)``, 0..1.
        percent: Standard deviation in either channel, per cent of full brightness, at the pixel size of ``image``.
        noise: Shape ``(B, 2, H, W)``, as ``draw_noise`` gives it.
    """
    real, imaginary = (percent / 100 * noise).chunk(2, dim=1)
    return torch.hypot(image + real, imaginary).clamp(0, 1)


def draw_bias(generator: Generator, _size: Sequence[int]) -> Tensor:
    """Coefficients of the polynomials up to ``DEGREE`` but the constant, -1..1, shape ``(9,)``."""
    return 2 * torch.rand(len(_degrees()), generator=generator) - 1


def bias_field(image: Tensor, ratio: float, coefficients: Tensor) -> Tensor:
    """A smooth gain whose logarithm is a polynomial; then the brightest pixel is as bright as before, as windowed.

    Source: Van Leemput et al., "Automated model-based bias field correction of MR images of the brain", IEEE TMI 1999,
        section II-B. Differs: Legendre polynomials, and the highest gain in the image is set.

    Args:
        image: Shape ``(B, 1, H, W)``, 0..1.
        ratio: Highest gain in the image over the lowest, at least 1.
        coefficients: Shape ``(B, 9)``, as ``draw_bias`` gives them.
    """
    rows, columns = (np.polynomial.legendre.legvander(np.linspace(-1, 1, side), DEGREE) for side in image.shape[2:])
    basis = np.stack([np.outer(rows[:, i], columns[:, j]) for i, j in _degrees()])
    field = torch.tensordot(coefficients, torch.from_numpy(basis).to(coefficients), dims=1)
    low, high = field.amin((1, 2), keepdim=True), field.amax((1, 2), keepdim=True)
    shaded = image * (ratio ** ((field - low) / (high - low)))[:, None]
    peak, shaded_peak = (values.amax((2, 3), keepdim=True) for values in (image, shaded))
    return (shaded * torch.where(shaded_peak > 0, peak / shaded_peak, 1.0)).clamp(0, 1)


def draw_direction(generator: Generator, _size: Sequence[int]) -> Tensor:
    """1 or -1 with equal chance, shape ``(1,)``."""
    return 2.0 * torch.randint(2, (1,), generator=generator) - 1


def gamma(image: Tensor, exponent: float, direction: Tensor) -> Tensor:
    """Brightness to a power: darker and richer in contrast, or brighter and poorer.

    Args:
        image: Shape ``(B, 1, H, W)``, 0..1.
        exponent: At least 1.
        direction: 1 for the exponent, -1 for its inverse, shape ``(B, 1)``.
    """
    return image ** (exponent**direction)[:, :, None, None]


def _degrees() -> list[tuple[int, int]]:
    """Degrees along rows and columns."""
    return [(i, j) for i in range(DEGREE + 1) for j in range(DEGREE + 1 - i) if i + j > 0]
