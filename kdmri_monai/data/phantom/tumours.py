"""Lesions whose class is a matter of geometry; brightness and size overlap between the classes.

| class | place | outline | inside |
|---|---|---|---|
| meningioma | on the inner side of the skull, with a broad base | smooth, round or lobed | even |
| glioma | within the brain, away from the skull | irregular | bright ring around a dark core, or patchy |
| pituitary tumour | in the sella, midline | smooth, round or like a snowman | even, some with a cyst |
"""

from dataclasses import dataclass

import numpy as np

from kdmri_monai.data.phantom.anatomy import Head
from kdmri_monai.data.phantom.shapes import Field, blob, cover, paint, smooth_noise, union

MENINGIOMA, GLIOMA, PITUITARY = range(3)


@dataclass(frozen=True)
class Lesion:
    """A head with a lesion.

    Attributes:
        image: Brightness, 0..1, shape ``(S, S)``.
        distance: About the signed distance to its border, head coordinates, positive inside.
    """

    image: Field
    distance: Field


def add_lesion(head: Head, label: int, case: np.random.Generator, level: float = 0.0) -> Lesion:
    """Put a lesion of a class into a head.

    Args:
        head: Healthy head.
        label: 0 meningioma, 1 glioma, 2 pituitary tumour.
        case: Draws what tells one case from another; the same state gives the same lesion in every slice.
        level: Place of the slice in the stack, -1..1; the cross-section shrinks towards the ends.

    Raises:
        ValueError: Another label.
    """
    if label not in (MENINGIOMA, GLIOMA, PITUITARY):
        raise ValueError(f"label is {label}, allowed are 0, 1, 2")
    shrink = np.sqrt(1 - 0.65 * level**2)
    return (_meningioma, _glioma, _pituitary)[label](head, case, shrink)


def _waves(case: np.random.Generator, count: int, strength: float) -> Field:
    amplitudes = strength * case.uniform(0.3, 1.0, count) / np.arange(1, count + 1) ** 0.7
    return np.stack([amplitudes, case.uniform(0, 2 * np.pi, count)], axis=1)


def _pick(case: np.random.Generator, head: Head, allowed: Field, weight: Field | None = None) -> tuple[float, float]:
    """Head coordinates of a pixel, drawn from those where ``allowed`` is positive.

    The draw is made in head coordinates with the case's generator, so that all slices of a plane agree about the place.
    """
    angle, share = case.uniform(-np.pi, np.pi), case.uniform()
    score = np.where(allowed > 0, np.cos(np.arctan2(head.grid.y + 0.15, head.grid.x) - angle), -np.inf)
    sector = score > np.cos(0.3) if (score > np.cos(0.3)).any() else score == score.max()
    order = np.argsort((weight if weight is not None else head.cranium)[sector])
    chosen = order[int(share * (len(order) - 1))]
    return float(head.grid.x[sector][chosen]), float(head.grid.y[sector][chosen])


def _halo(image: Field, distance: Field, case: np.random.Generator) -> Field:
    """A faint dark rim around the lesion, drawn alike for every class, so that it tells none."""
    return image * (1 - case.uniform(0.0, 0.25) * np.exp(-((np.minimum(distance, 0) / 0.05) ** 2)))


def _meningioma(head: Head, case: np.random.Generator, shrink: float) -> Lesion:
    radius = case.uniform(0.11, 0.24) * shrink
    rim = (head.cranium < 0.012) & (head.cranium > 0.0) & (head.brain > -0.05)
    x, y = _pick(case, head, rim.astype(float))
    length = np.hypot(x, y + 0.15)
    depth = case.uniform(0.35, 0.75) * radius
    x, y = x - depth * x / length, y - depth * (y + 0.15) / length
    ball = blob(head.grid, x, y, radius, _waves(case, 2, 0.09))
    distance = np.minimum(ball, head.cranium - 0.004)
    image = _halo(head.image, distance, case)
    tail = cover(0.010 - np.abs(head.cranium - 0.014), 0.008) * cover(ball + case.uniform(0.05, 0.14), 0.03)
    value = case.uniform(0.62, 0.95)
    image = paint(image, 0.8 * tail, value)
    inside = value + 0.03 * smooth_noise(case, head.grid, 0.08)
    return Lesion(paint(image, cover(distance, 0.014), inside), distance)


def _glioma(head: Head, case: np.random.Generator, shrink: float) -> Lesion:
    radius = case.uniform(0.12, 0.24) * shrink
    waves = _waves(case, 10, 0.20)
    room = np.minimum(head.brain - radius * 0.75 - 0.03, -head.ventricles + 0.02)
    if not (room > 0).any():
        room = head.brain - 0.8 * head.brain.max()
    x, y = _pick(case, head, room)
    distance = np.minimum(blob(head.grid, x, y, radius, waves), head.brain - 0.012)
    image = _halo(head.image, distance, case)
    patches = smooth_noise(case, head.grid, 0.06)
    if case.uniform() < 0.7:
        ring, core = case.uniform(0.6, 0.95), case.uniform(0.12, 0.34)
        width = case.uniform(0.16, 0.32) * radius * (1 + 0.35 * patches)
        inside = paint(np.full_like(distance, ring), cover(distance - width, 0.02), core)
    else:
        inside = case.uniform(0.3, 0.6) + 0.13 * patches
    return Lesion(paint(image, cover(distance, 0.022), inside + 0.05 * patches), distance)


def _pituitary(head: Head, case: np.random.Generator, shrink: float) -> Lesion:
    radius = case.uniform(0.085, 0.17) * shrink
    x, y = head.sella[0] + case.normal(0, 0.012), head.sella[1] + case.normal(0, 0.012)
    distance = blob(head.grid, x, y, radius, _waves(case, 2, 0.10))
    if case.uniform() < 0.5:
        upper = blob(head.grid, x + case.normal(0, 0.015), y - 0.95 * radius, 0.7 * radius, _waves(case, 2, 0.10))
        distance = union(distance, upper)
    image = _halo(head.image, distance, case)
    value = case.uniform(0.55, 0.95)
    inside = value + 0.03 * smooth_noise(case, head.grid, 0.08)
    if case.uniform() < 0.25:
        inside = paint(inside, cover(distance - 0.45 * radius, 0.03), case.uniform(0.15, 0.4))
    return Lesion(paint(image, cover(distance, 0.014), inside), distance)
