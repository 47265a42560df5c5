"""Exact signed Euclidean distance to the border of a tumour, for a whole batch at once.

Source: Felzenszwalb and Huttenlocher, "Distance Transforms of Sampled Functions", Theory of Computing 2012,
section 2: the squared distance is a minimum over one axis after the other.
Differs: the minimum of an axis is taken over offsets for all rows together, not by parabolas row by row.
"""

import math

import torch
from torch import Tensor


def signed_distance(mask: Tensor, limit: float | None = None) -> Tensor:
    """Exact distance of every pixel's centre to the tumour's border line, positive inside.

    ``edt(mask) - 1/2`` inside and ``-(edt(1 - mask) - 1/2)`` outside, where ``edt`` is the distance to the nearest
    pixel of the other kind, as in ``scipy.ndimage.distance_transform_edt``: the line runs between the pixels. The
    border of the image is no border of the tumour.

    Args:
        mask: Booleans or 0 and 1 (cut at one half), shape ``(B, 1, *spatial)``, 2D or 3D.
        limit: Distances are clipped to ``-limit .. limit``, pixels; the smaller, the faster. None means the diagonal
            of the image, farther than any pixel.

    Returns:
        Distance in pixels, shape of ``mask``, without gradient, float64 for a float64 mask and else float32. A sample
        without tumour is ``-limit`` everywhere, one full of it ``+limit``.

    Raises:
        ValueError: The mask has not one channel and two or three axes, or the limit is not positive.
    """
    if mask.ndim not in (4, 5) or mask.shape[1] != 1:
        raise ValueError(f"mask is {tuple(mask.shape)}, it must be (B, 1, H, W) or (B, 1, D, H, W)")
    if limit is not None and limit <= 0:
        raise ValueError(f"limit is {limit}, it must be positive")
    diagonal = math.sqrt(sum(length**2 for length in mask.shape[2:]))
    limit = diagonal if limit is None else limit
    cap = math.ceil((min(limit, diagonal) + 0.5) ** 2)
    inside = mask if mask.dtype == torch.bool else mask > 0.5
    square = _squared_distance(inside, cap)
    distance = square.to(torch.float64 if mask.dtype == torch.float64 else torch.float32).sqrt_().sub_(0.5)
    distance = torch.where(square < cap, distance, limit).clamp_(max=limit)
    return torch.where(inside, distance, -distance)


def _squared_distance(inside: Tensor, cap: int) -> Tensor:
    """Square, at most ``cap``, of the distance to the nearest pixel of the other kind."""
    square = _steps_to_other_kind(inside, math.isqrt(cap) + 1).square_().clamp_(max=cap)
    within, outside = square * inside, square * ~inside
    for axis in range(inside.ndim - 2, 1, -1):
        within, outside = _nearest_along(within, axis, cap), _nearest_along(outside, axis, cap)
    return within.add_(outside)


def _steps_to_other_kind(inside: Tensor, farthest: int) -> Tensor:
    """Steps along the last axis, at most ``farthest``, to the nearest pixel of the other kind.

    The steps reached double each time: all offsets up to ``2 k - 1`` are covered once k has been tried.
    """
    dtype = torch.int16 if 2 * farthest**2 < torch.iinfo(torch.int16).max else torch.int32
    changes = inside[..., 1:] != inside[..., :-1]
    steps = torch.full(inside.shape, farthest, device=inside.device, dtype=dtype)
    steps[..., 1:].masked_fill_(changes, 1)
    steps[..., :-1].masked_fill_(changes, 1)
    offset = 1
    while offset < min(farthest, inside.shape[-1]):
        _lower_to_neighbours(steps, steps + offset, -1, offset)
        offset *= 2
    return steps


def _nearest_along(squares: Tensor, axis: int, cap: int) -> Tensor:
    """Minimum over offsets ``k`` along an axis of ``squares`` there plus ``k ** 2``."""
    largest = cap if torch.compiler.is_compiling() or not squares.numel() else int(squares.max())
    nearest = squares.clone()
    for offset in range(1, min(squares.shape[axis] - 1, math.isqrt(largest)) + 1):
        _lower_to_neighbours(nearest, squares + offset**2, axis, offset)
    return nearest


def _lower_to_neighbours(values: Tensor, others: Tensor, axis: int, offset: int) -> None:
    """Lower ``values`` in place to what ``others`` hold ``offset`` pixels before and behind."""
    length = values.shape[axis] - offset
    ahead, behind = values.narrow(axis, offset, length), values.narrow(axis, 0, length)
    torch.minimum(ahead, others.narrow(axis, 0, length), out=ahead)
    torch.minimum(behind, others.narrow(axis, offset, length), out=behind)
