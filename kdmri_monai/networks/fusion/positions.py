"""Sine-cosine code of positions in the image."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def angular_frequencies(count: int, finest: int) -> Tensor:
    """Frequencies in radians per image side, in geometric steps, shape ``(count,)``.

    The lowest, pi, is half a wave over the image, so that no two positions share a code. The highest,
    ``pi * finest``, is half a wave from pixel to pixel of a grid of ``finest`` pixels a side.
    """
    return torch.pi * torch.logspace(0, 1, count, base=finest)


def sine_cosine_code(centres: Sequence[Tensor], frequencies: Tensor, channels: int) -> Tensor:
    """Sines and cosines of the position along every axis, one axis after the other.

    The code of a pixel is ``[sin(x_1 w), cos(x_1 w), sin(x_2 w), cos(x_2 w), ...]``, axes in the order
    of the maps (y, x in 2D), then zeros up to ``channels``. It depends on the
    place in the image alone: grids of other sizes that look at one place give one code.

    Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, section 3.5, on each axis.
    Differs: positions are in units of the image, not of the grid, and the frequencies fit that (see
        ``angular_frequencies``).

    Args:
        centres: Pixel centres along every axis in units of the image side, 0 to 1, shapes ``(n_a,)``.
        frequencies: Radians per image side, shape ``(F,)``.
        channels: Channels of the code, at least 2 F times the axes.

    Returns:
        Codes in the order of the flattened grid, shape ``(prod n_a, channels)``.

    Raises:
        ValueError: Too few ``channels``.
    """
    used = 2 * len(frequencies) * len(centres)
    if used > channels:
        raise ValueError(
            f"{len(frequencies)} frequencies on {len(centres)} axes need {used} channels, there are {channels}"
        )
    angles = [positions * frequencies for positions in _flat_grid(centres)]
    waves = [wave for angle in angles for wave in (angle.sin(), angle.cos())]
    return F.pad(torch.cat(waves, dim=1), (0, channels - used))


def _flat_grid(centres: Sequence[Tensor]) -> list[Tensor]:
    """The coordinate along each axis of every pixel of the grid, shapes ``(prod n_a, 1)``."""
    return [axis.reshape(-1, 1) for axis in torch.meshgrid(*centres, indexing="ij")]
