"""Outlines of lesions. Which class a lesion belongs to is a matter of geometry.

| class | place | outline |
|---|---|---|
| meningioma | on the inner side of the skull or on the falx, with a broad base | smooth, round or lobed |
| glioma | within the brain, off the skull | irregular |
| pituitary tumour | in the sella, at the midline | smooth, round or like a dumb-bell |

Size and place overlap: some meningiomas sit near the sella, some gliomas near the skull or near the midline.
An outline is a field that falls from positive inside to negative outside with about the slope of a distance.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdmri_monai.data.phantom.anatomy import Head
from kdmri_monai.data.phantom.noise import field, grid, heights
from kdmri_monai.data.phantom.shapes import Array, Points, normals

MENINGIOMA, GLIOMA, PITUITARY = range(3)


@dataclass(frozen=True)
class Outline:
    """Shape and place of a lesion in one slice.

    Attributes:
        inside: About the signed distance to the border in half fields of view, positive inside, shape ``(S, S)``.
        centre: Middle (x, y).
        base: Dura that the lesion sits on, open line, shape ``(P, 2)``; ``None`` where it sits on none.
    """

    inside: Array
    centre: NDArray[np.float64]
    base: Points | None = None


def outline(head: Head, label: int, case: np.random.Generator, share: float = 1.0) -> Outline:
    """Shape of a lesion in a head.

    Args:
        head: Healthy head.
        label: Class, 0..2.
        case: Draws what tells one case from another; the same state gives the same lesion in every slice.
        share: Size relative to its largest cross-section, 0..1.

    Raises:
        ValueError: Another label.
    """
    if label not in (MENINGIOMA, GLIOMA, PITUITARY):
        raise ValueError(f"label is {label}, allowed are 0, 1, 2")
    return (_meningioma, _glioma, _pituitary)[label](head, case, share)


def _waves(case: np.random.Generator, orders: range, strength: float, angle: Array) -> Array:
    """Relative deviation from a circle, a sum of waves round it that weaken with their order."""
    sizes = strength * case.standard_normal(len(orders)) / np.sqrt(np.asarray(orders))
    starts = case.uniform(0, 2 * np.pi, len(orders))
    total = np.zeros_like(angle)
    for order, size, start in zip(orders, sizes, starts, strict=True):
        total += np.float32(size) * np.cos(order * angle + np.float32(start))
    return np.clip(total, -0.5, 0.5)


def _meningioma(head: Head, case: np.random.Generator, share: float) -> Outline:
    """A dome on the dura: a ball whose middle lies less than its radius inside the skull, cut off by the skull."""
    size = len(head.signal)
    radius = case.uniform(0.115, 0.22)
    place, on_falx, side = case.uniform(), case.uniform() < 0.25, 1.0 if case.uniform() < 0.5 else -1.0
    lift, flat = case.uniform(0.25, 0.6), case.uniform(0.8, 1.15)
    line = head.falx if on_falx else head.dura
    seats = np.arange(len(line)) if on_falx else np.flatnonzero(head.vault)
    seat = int(seats[int(place * (len(seats) - 1))])
    inward = side * normals(line, closed=False)[seat] if on_falx else -normals(line)[seat]
    along = np.array([-inward[1], inward[0]])
    radius *= share
    centre = line[seat] + lift * radius * inward
    x, y = grid(size)
    u = (x - centre[0]) * along[0] + (y - centre[1]) * along[1]
    v = (x - centre[0]) * inward[0] + (y - centre[1]) * inward[1]
    u, v = u * flat, v / flat
    lobes = _waves(case, range(2, 6), 0.065, np.arctan2(v, u))
    inside = radius * (1 + lobes) - np.sqrt(u * u + v * v)
    if on_falx:
        beyond = (x - line[seat][0]) * inward[0] + (y - line[seat][1]) * inward[1] + 0.006
        inside = np.minimum(inside, beyond)
    reach = np.linalg.norm(line - line[seat], axis=1) < 1.35 * radius + 0.04
    base = (
        line[reach] if on_falx else np.roll(line, len(line) // 2 - seat, axis=0)[np.roll(reach, len(line) // 2 - seat)]
    )
    return Outline(np.minimum(inside, (head.cavity - 0.5) * (4 / size)).astype(np.float32), centre, base)


def _glioma(head: Head, case: np.random.Generator, share: float) -> Outline:
    """An irregular patch whose middle lies in a lobe of the brain, deep enough to stay off the skull."""
    size = len(head.signal)
    radius = case.uniform(0.085, 0.19)
    depth = np.min(np.linalg.norm(head.lobes[:, None] - head.dura[None], axis=2), axis=1)
    order = np.argsort(case.uniform(size=len(head.lobes)))
    fits = order[depth[order] > 1.05 * radius + 0.03]
    centre = head.lobes[fits[0] if len(fits) else np.argmax(depth)]
    radius *= share
    x, y = grid(size)
    rough = case.uniform(0.8, 1.5)
    u, v = (
        part + rough * (0.020 * field(heights(case, 16), size) + 0.009 * field(heights(case, 34), size))
        for part in (x - centre[0], y - centre[1])
    )
    waves = _waves(case, range(2, 8), 0.10 * rough, np.arctan2(v, u))
    inside = 0.95 * radius * (1 + waves) - np.sqrt(u * u + v * v)
    return Outline(np.minimum(inside, (head.cavity - 0.5) * (4 / size)).astype(np.float32), centre)


def _pituitary(head: Head, case: np.random.Generator, share: float) -> Outline:
    """A ball in the sella, half of the time with a second one above a waist."""
    size = len(head.signal)
    radius = case.uniform(0.075, 0.15) * share
    centre = head.sella + case.normal(0, 0.010, 2)
    twin = case.uniform() < 0.5
    rise, second = case.uniform(1.05, 1.35), case.uniform(0.75, 1.1)
    if not head.rise.any():
        twin, radius = False, 1.15 * radius
    x, y = grid(size)

    def ball(at: NDArray[np.float64], size_of: float) -> Array:
        u, v = x - at[0], (y - at[1]) * np.float32(1.08)
        waves = _waves(case, range(2, 5), 0.06, np.arctan2(v, u))
        result: Array = np.float32(size_of) * (1 + waves) - np.sqrt(u * u + v * v)
        return result

    lower = centre + 0.15 * radius * head.rise
    inside = ball(lower, 0.8 * radius if twin else radius)
    if twin:
        upper = ball(lower + rise * radius * head.rise, 0.8 * second * radius)
        blend = np.float32(0.22 * radius)
        inside = np.maximum(inside, upper) + blend * np.exp(-np.abs(inside - upper) / (2 * blend)) * np.float32(0.5)
    return Outline(inside.astype(np.float32), centre)
