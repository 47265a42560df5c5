"""Gaussian smoothing and Gaussian derivatives, equal to SciPy's at the borders too.

Every axis is one product with an (n x n) matrix that holds the kernel and its reflections: kernels wider than the image
need no special case, and the product is fast on CPUs and GPUs alike up to some 512 pixels.

Differs: ``monai.networks.layers.GaussianFilter`` pads with zeros, which darkens the rim of an image and makes edges
there; this mirrors the image about its rim (SciPy's ``reflect``: ``d c b a | a b c d | d c b a``).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from kdmri_monai.networks.precision import at_least_float32


def gaussian_smooth(maps: Tensor, sigma: float, truncate: float = 4.0, order: int | Sequence[int] = 0) -> Tensor:
    """Convolve every channel with a Gaussian or one of its derivatives.

    Equal to ``scipy.ndimage.gaussian_filter(channel, sigma, order, mode="reflect", truncate=truncate)``.

    Args:
        maps: Shape ``(B, C, *spatial)``.
        sigma: Standard deviation, pixels.
        truncate: Radius at which the kernel is cut, in standard deviations.
        order: 0 smooths, 1 and more differentiate as often; one number for all axes or one an axis.

    Returns:
        Same shape, in float32 or better whatever autocast asks for. With TF32 products switched on, a GPU rounds to
        three digits.

    Raises:
        ValueError: ``sigma`` or ``truncate`` is not positive, or the orders are negative or not one an axis.
    """
    axes = maps.ndim - 2
    orders = [order] * axes if isinstance(order, int) else list(order)
    if sigma <= 0 or truncate <= 0:
        raise ValueError(f"sigma {sigma} and truncate {truncate} must be positive")
    if len(orders) != axes or min(orders) < 0:
        raise ValueError(f"orders {orders} must be {axes} numbers from 0 on, one an axis of maps {tuple(maps.shape)}")
    maps = at_least_float32(maps)
    with torch.autocast(maps.device.type, enabled=False):
        for axis, times in enumerate(orders, start=2):
            kernel = torch.tensor(gaussian_kernel(sigma, truncate, times), dtype=maps.dtype, device=maps.device)
            maps = _along(maps, axis, reflecting_operator(kernel, maps.shape[axis]))
    return maps


def gaussian_kernel(sigma: float, truncate: float = 4.0, order: int = 0) -> list[float]:
    """The ``order``-th derivative of a Gaussian at ``-r .. r``, r = ``truncate * sigma`` rounded.

    The Gaussian itself sums to 1; its derivatives are that times the polynomials ``q_0 = 1``,
    ``q_{n+1} = q_n' - x q_n / sigma^2``.
    """
    radius = int(truncate * sigma + 0.5)
    gaussian = [math.exp(-0.5 * (x / sigma) ** 2) for x in range(-radius, radius + 1)]
    polynomial = [1.0]
    for _ in range(order):
        slope = [*(power * factor for power, factor in enumerate(polynomial) if power), 0.0, 0.0]
        raised = [0.0, *(factor / sigma**2 for factor in polynomial)]
        polynomial = [a - b for a, b in zip(slope, raised, strict=True)]
    total = sum(gaussian)
    return [
        value / total * sum(factor * x**power for power, factor in enumerate(polynomial))
        for x, value in zip(range(-radius, radius + 1), gaussian, strict=True)
    ]


def reflecting_operator(kernel: Tensor, length: int) -> Tensor:
    """Convolution with a kernel of odd size as a matrix ``(length, length)``, for signals mirrored about their ends."""
    radius = len(kernel) // 2
    row = torch.arange(length, device=kernel.device)[:, None]
    column = row.T
    periods = (radius + length) // (2 * length)
    direct = [row - column + 2 * length * m for m in range(-periods, periods + 1)]
    mirrored = [row + column + 1 - 2 * length * m for m in range(-periods, periods + 2)]
    padded = torch.cat([kernel.new_zeros(1), kernel, kernel.new_zeros(1)])
    offsets = torch.stack(direct + mirrored).clamp_(-radius - 1, radius + 1)
    return padded[offsets + radius + 1].sum(dim=0)


def _along(maps: Tensor, axis: int, operator: Tensor) -> Tensor:
    if axis == maps.ndim - 1:
        return maps @ operator.T
    return (operator @ maps.flatten(start_dim=axis + 1)).reshape(maps.shape)
