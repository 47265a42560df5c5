"""From a tumour's border, a line of points, to its mask."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from skimage.draw import polygon
from torch import Tensor


def mask_from_border(points: npt.ArrayLike | Tensor, size: Sequence[int]) -> Tensor:
    """Fill a closed border line, on the CPU, by ``skimage.draw.polygon``.

    Args:
        points: Corners in order, x (column) and y (row) in pixels counted from 0 at the centre of the first pixel,
            shape ``(N, 2)`` with N of at least 3; the last is joined to the first.
        size: Height and width of the mask. What lies outside is cut off.

    Returns:
        Booleans, shape ``(1, H, W)``: pixels whose centre is inside.

    Raises:
        ValueError: Points of another shape or not finite, or a size of other than two axes.
    """
    corners = np.asarray(points, dtype=np.float64)
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3 or not np.isfinite(corners).all():
        raise ValueError(f"a border is at least three finite points (N, 2), got shape {corners.shape}")
    if len(size) != 2:
        raise ValueError(f"a border is filled in an image of height and width, got size {tuple(size)}")
    mask = np.zeros(tuple(size), dtype=bool)
    mask[polygon(corners[:, 1], corners[:, 0], mask.shape)] = True
    return torch.from_numpy(mask)[None]
