"""Rings around and inside a tumour, cut out by its signed distance.

Source: Cheng et al., "Enhanced Performance of Brain Tumor Classification via Tumor Region Augmentation and
Partition", PLOS ONE 2015, section 2.3.
Differs: rings are cut by the signed distance, not by repeated dilation, and may have soft edges.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

RELATIVE_EDGES = (-2.0, -1.0, 0.0, 0.5)


def ring_partition(distance: Tensor, edges: Sequence[float], softness: float = 0.0) -> Tensor:
    """Membership of every pixel in R = ``len(edges) + 1`` rings, the innermost first.

    Ring ``r`` holds the distances from one edge (excluded) to the next (included). Soft rings are differences of
    ``sigmoid((distance - edge) / softness)``, so that each pixel's memberships sum to 1 as well.

    Args:
        distance: Signed distance to the border in pixels, positive inside, shape ``(B, 1, *spatial)``.
        edges: Limits between rings in pixels, ascending.
        softness: Width of the soft edges in pixels; 0 gives rings of 0 and 1.

    Returns:
        Memberships, shape ``(B, R, *spatial)``; soft ones have gradients with respect to ``distance``.

    Raises:
        ValueError: No edges, edges that do not ascend, a negative softness, or a distance of several channels.
    """
    check_ring_edges(edges)
    _check(distance, softness)
    levels = torch.tensor(list(edges), dtype=distance.dtype, device=distance.device)
    return _between(distance, levels.expand(distance.shape[0], -1), softness)


def relative_rings(distance: Tensor, edges: Sequence[float] = RELATIVE_EDGES, softness: float = 0.0) -> Tensor:
    """Rings in units of the tumour's own depth ``d``, its largest distance inside.

    By default five: core (above d/2), rim (0 to d/2), 0 to -d, -d to -2d, and the rest.

    Args:
        distance: Signed distance as ``signed_distance`` gives it, shape ``(B, 1, *spatial)``. Clipped below ``2 d``,
            the pixels beyond the limit count to the ring in which the limit lies.
        edges: Limits between rings in units of ``d``, ascending.
        softness: Width of the soft edges in units of ``d``; 0 gives rings of 0 and 1.

    Returns:
        Memberships, shape ``(B, R, *spatial)``, innermost first. A sample without tumour is in the last ring.

    Raises:
        ValueError: As for ``ring_partition``.
    """
    _check(distance, softness)
    depth = distance.detach().flatten(start_dim=1).amax(dim=1).reshape(-1, *[1] * (distance.ndim - 1))
    has_tumour = depth > 0
    relative = torch.where(has_tumour, distance / torch.where(has_tumour, depth, 1.0), -torch.inf)
    return ring_partition(relative, edges, softness)


def check_ring_edges(edges: Sequence[float]) -> None:
    """Refuse limits that cut no rings.

    Raises:
        ValueError: No edges, or edges that do not ascend.
    """
    if not edges or any(low >= high for low, high in itertools.pairwise(edges)):
        raise ValueError(f"ring edges {list(edges)} must ascend, at least one")


def _check(distance: Tensor, softness: float) -> None:
    if distance.ndim < 3 or distance.shape[1] != 1:
        raise ValueError(f"distance is {tuple(distance.shape)}, it must be (B, 1, *spatial)")
    if softness < 0:
        raise ValueError(f"softness is {softness}, it must not be negative")


def _between(distance: Tensor, levels: Tensor, softness: float) -> Tensor:
    """Memberships between levels ``(B, R - 1)`` that ascend: what is above a level, less what is above the next."""
    levels = levels.flip(1).reshape(*levels.shape, *[1] * (distance.ndim - 2))
    above = (distance > levels).to(distance.dtype) if softness == 0 else torch.sigmoid((distance - levels) / softness)
    rings = torch.cat([above, torch.ones_like(distance)], dim=1)
    rings[:, 1:] -= above
    return rings
