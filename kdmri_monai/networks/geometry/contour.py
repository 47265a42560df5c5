"""Direction and bending of a tumour's border, from its smoothed signed distance.

Source: Osher and Fedkiw, "Level Set Methods and Dynamic Implicit Surfaces", 2003, section 1.4: the normal of a level
set is the unit gradient, its curvature the divergence of the normal.
"""

import functools

import torch
from torch import Tensor

from kdmri_monai.networks.geometry.smoothing import gaussian_smooth

FLAT = 1e-2  # slope, against 1 of a distance, at which a normal fades out: far above the rounding of a clipped plateau


def border_normal(distance: Tensor, sigma: float) -> Tensor:
    """Unit vectors that point out of the tumour, at every pixel: ``-g / sqrt(|g|^2 + FLAT^2)``.

    ``g = grad (G_sigma * distance)`` by central differences. Near the border ``|g|`` is about 1 and the vectors are of
    length 1 within 1e-4; they fade to zero where there is no direction, on ridges and where the distance was clipped.

    Args:
        distance: Signed distance to the border in pixels, positive inside, shape ``(B, 1, *spatial)``, at least two
            pixels along every axis.
        sigma: Standard deviation of the smoothing, pixels.

    Returns:
        Vectors, shape ``(B, d, *spatial)``, components in the order of the axes (rows first).

    Raises:
        ValueError: The distance has not one channel, or ``sigma`` is not positive.
    """
    if distance.ndim < 4 or distance.shape[1] != 1:
        raise ValueError(f"distance is {tuple(distance.shape)}, it must be (B, 1, H, W) or (B, 1, D, H, W)")
    smooth = gaussian_smooth(distance, sigma)
    slope = torch.cat(torch.gradient(smooth, dim=list(range(2, smooth.ndim))), dim=1)
    return -slope / (slope.square().sum(dim=1, keepdim=True) + FLAT**2).sqrt()


def border_curvature(distance: Tensor, sigma: float, band: float = 4.0) -> Tensor:
    """Mean curvature of the border and of the lines parallel to it: ``1 / r`` on a circle or sphere of radius r.

    Args:
        distance: As for ``border_normal``; where it was clipped, at more than ``band + 4 sigma``.
        sigma: Standard deviation of the smoothing, pixels; bends of a smaller radius are not resolved.
        band: Pixels from the border beyond which the curvature is set to zero.

    Returns:
        Curvature in 1 / pixel, positive where the tumour is convex, cut to ``-1 / sigma .. 1 / sigma``, shape
        ``(B, 1, *spatial)``.

    Raises:
        ValueError: As for ``border_normal``, or the band is not positive.
    """
    return curvature_of_normal(border_normal(distance, sigma), distance, sigma, band)


def curvature_of_normal(normal: Tensor, distance: Tensor, sigma: float, band: float = 4.0) -> Tensor:
    """``border_curvature`` where the normal ``(B, d, *spatial)`` is at hand: its divergence over ``d - 1``."""
    if band <= 0:
        raise ValueError(f"band is {band} pixels, it must be positive")
    axes = normal.shape[1]
    along = [torch.gradient(normal[:, axis : axis + 1], dim=axis + 2)[0] for axis in range(axes)]
    mean = functools.reduce(torch.add, along) / (axes - 1)
    return mean.clamp(-1 / sigma, 1 / sigma) * (distance.abs() <= band)
