"""A head without a lesion, in three planes through the sella, as contrast-enhanced T1 shows it.

All three planes pass the sella whatever the class, so that with the tumour erased nothing of the anatomy tells it.
Brightness: air 0, skull .08, fluid .12, grey matter .40, white matter .52, fat .95.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from kdmri_monai.data.phantom.shapes import Field, Grid, cover, ellipse, paint, smooth_noise, union

Plane = Literal["axial", "coronal", "sagittal"]


@dataclass(frozen=True)
class Head:
    """A head and what a lesion needs to know of it.

    Attributes:
        image: Brightness, 0..1, shape ``(S, S)``.
        grid: Head coordinates of the pixels after this person's displacement.
        cranium: Signed distance to the inner side of the skull, positive inside.
        brain: Signed distance to the brain, positive inside.
        ventricles: Signed distance to the ventricles.
        sella: Where the pituitary sits, head coordinates.
    """

    image: Field
    grid: Grid
    cranium: Field
    brain: Field
    ventricles: Field
    sella: tuple[float, float]


def draw_head(plane: Plane, person: np.random.Generator, grid: Grid, level: float = 0.0) -> Head:
    """Draw the head of one person.

    Args:
        plane: One of ``taxonomy.PLANES``.
        person: Draws what tells one person from another; the same state gives the same head.
        grid: Pixels.
        level: Place of the slice in its stack, -1..1.
    """
    bend = [0.012 * smooth_noise(person, grid, 0.5) for _ in range(2)]
    grid = grid.moved(*bend)
    width, height = person.uniform(0.94, 1.06, 2)
    grid = Grid(grid.x / width, grid.y / height)
    return {"axial": _axial, "coronal": _coronal, "sagittal": _sagittal}[plane](person, grid, level)


def _shell(grid: Grid, skull: Field, person: np.random.Generator) -> Field:
    """Scalp and skull around the inner side of the skull: from outside skin, fat, bone, with diploe inside it."""
    scalp = person.uniform(0.05, 0.075)
    image = np.zeros_like(skull)
    outer = skull + 0.055 + scalp
    image = paint(image, cover(outer), 0.55)
    image = paint(image, cover(outer - 0.012), person.uniform(0.8, 1.0) + 0.08 * smooth_noise(person, grid, 0.08))
    image = paint(image, cover(skull + 0.055), 0.08)
    diploe = np.exp(-(((skull + 0.028) / 0.009) ** 2))
    image = np.maximum(image, 0.28 * diploe * (smooth_noise(person, grid, 0.15) > -0.7))
    return paint(image, cover(skull), 0.13)


def _tissue(image: Field, grid: Grid, brain: Field, person: np.random.Generator) -> Field:
    """Grey and white matter: a folded ribbon of grey, and sulci that reach in from the surface."""
    folds = smooth_noise(person, grid, 0.09)
    fine = smooth_noise(person, grid, 0.045)
    ribbon = np.minimum(brain - 0.05 - 0.045 * folds, 0.02 * (np.abs(fine) - 0.55) + 0.25 * brain - 0.012)
    matter = paint(np.full_like(brain, 0.37), cover(ribbon, 0.025), 0.54)
    matter += 0.012 * fine
    sulci = np.exp(-((fine / 0.20) ** 2)) * np.clip(1.15 - brain / 0.15, 0, 1)
    matter = paint(matter, 0.85 * sulci, 0.14)
    return paint(image, cover(brain), matter)


def _vessels(image: Field, inside: Field, grid: Grid, person: np.random.Generator) -> Field:
    """Small bright spots, the vessels that take up contrast."""
    for _ in range(int(person.integers(5, 11))):
        x, y = person.uniform(-0.5, 0.5, 2)
        spot = ellipse(grid, x, y, *person.uniform(0.006, 0.016, 2))
        image = paint(image, cover(spot) * cover(inside - 0.02), person.uniform(0.6, 0.9))
    return image


def _axial(person: np.random.Generator, grid: Grid, level: float) -> Head:
    skull = ellipse(grid, 0, 0.02, 0.56, 0.70, 2.15)
    image = _shell(grid, skull, person)
    brain = skull - 0.025
    image = _tissue(image, grid, brain, person)
    # orbits and nose in front, petrous bone, cerebellum behind
    for side in (-1, 1):
        orbit = ellipse(grid, side * 0.22, -0.66, 0.17, 0.19)
        image = paint(image, cover(orbit, 0.02), 0.85)
        image = paint(image, cover(ellipse(grid, side * 0.22, -0.71, 0.105, 0.11)), 0.16)
        image = paint(image, cover(ellipse(grid, side * 0.16, -0.55, 0.02, 0.09, angle=-side * 0.4)), 0.5)
        petrous = ellipse(grid, side * 0.33, 0.16, 0.21, 0.035, angle=-side * 0.55)
        image = paint(image, 0.8 * cover(petrous, 0.02), 0.1)
    sinus = ellipse(grid, 0, -0.62 + 0.03 * level, 0.075, 0.17, 3)
    image = paint(image, cover(sinus), 0.05)
    image = paint(image, cover(sinus) * (np.abs(np.sin(40 * grid.x)) > 0.93), 0.6)
    cistern = union(
        ellipse(grid, 0, -0.16, 0.12, 0.09),
        *(ellipse(grid, side * 0.12, -0.18, 0.15, 0.025, angle=side * 0.25) for side in (-1, 1)),
    )
    image = paint(image, 0.9 * cover(cistern, 0.03), 0.14)
    stem = ellipse(grid, 0, 0.04, 0.13, 0.10)
    image = paint(image, cover(stem, 0.02), 0.48)
    folia = 0.05 * np.sin(90 * grid.y + 3 * smooth_noise(person, grid, 0.2))
    cerebellum = ellipse(grid, 0, 0.42, 0.36, 0.22, 2.4)
    image = paint(image, cover(cerebellum, 0.03), 0.42 + folia)
    fourth = ellipse(grid, 0, 0.20 + 0.02 * level, 0.05 * person.uniform(0.7, 1.4), 0.035)
    image = paint(image, cover(fourth, 0.02), 0.12)
    horns = union(
        *(
            ellipse(grid, side * 0.27, 0.04, 0.022 * person.uniform(0.8, 1.6), 0.08, angle=side * 0.5)
            for side in (-1, 1)
        )
    )
    image = paint(image, 0.9 * cover(horns, 0.02), 0.13)
    image = _vessels(image, brain, grid, person)
    return Head(image, grid, skull, brain, union(fourth, horns), (0.0, -0.19))


def _face(image: Field, grid: Grid, region: Field, person: np.random.Generator) -> Field:
    """Muscle, fat and air of face and neck below the skull."""
    muscle, fat = smooth_noise(person, grid, 0.10), smooth_noise(person, Grid(2 * grid.x, grid.y), 0.08)
    tissue = 0.34 + 0.05 * muscle
    tissue = paint(tissue, cover(0.22 - np.abs(fat), 0.3), 0.78)
    tissue = paint(tissue, cover(muscle - 1.6, 0.4), 0.07)
    tissue = paint(tissue, cover(0.035 - region, 0.02), 0.9)
    behind = image <= 0.02
    return np.where(behind, paint(image, cover(region), tissue), image)


def _coronal(person: np.random.Generator, grid: Grid, level: float) -> Head:
    skull = ellipse(grid, 0, -0.17, 0.53, 0.53, 2.3)
    image = _shell(grid, skull, person)
    neck = union(ellipse(grid, 0, 0.42, 0.50, 0.55, 3), ellipse(grid, 0, 0.9, 0.38, 0.4, 4))
    image = _face(image, grid, neck, person)
    floor = 0.24 + 0.10 * np.abs(np.sin(np.clip(3.4 * grid.x, -np.pi, np.pi)))
    base = np.minimum(skull, floor - grid.y)
    image = paint(image, cover(skull) * cover(grid.y - floor, 0.02), 0.10)
    brain = np.minimum(base - 0.025, 1.0)
    image = _tissue(image, grid, brain, person)
    sinus = ellipse(grid, 0, 0.40, 0.13, 0.085, 3)
    image = paint(image, cover(sinus, 0.02), 0.03)
    for side in (-1, 1):
        image = paint(image, cover(ellipse(grid, side * 0.42, 0.05, 0.17, 0.016, angle=side * 0.35), 0.02), 0.15)
        carotid = ellipse(grid, side * 0.13, 0.25, 0.03, 0.035)
        image = paint(image, cover(carotid, 0.02), 0.10)
    falx = ellipse(grid, 0, -0.50, 0.009, 0.20)
    image = paint(image, cover(falx), 0.65)
    open_ = person.uniform(0.7, 1.5)
    ventricles = union(
        *(ellipse(grid, s * 0.07, -0.17, 0.032 * open_, 0.10, angle=-s * 0.75) for s in (-1, 1)),
        ellipse(grid, 0, -0.02 + 0.02 * level, 0.014 * open_, 0.07),
    )
    image = paint(image, cover(ventricles, 0.015), 0.12)
    callosum = ellipse(grid, 0, -0.26, 0.17, 0.022)
    image = paint(image, 0.8 * cover(callosum, 0.02), 0.57)
    image = _vessels(image, brain, grid, person)
    return Head(image, grid, skull, brain, ventricles, (0.0, 0.22))


def _sagittal(person: np.random.Generator, grid: Grid, level: float) -> Head:
    skull = ellipse(grid, 0.02, -0.20, 0.68, 0.54, 2.25)
    image = _shell(grid, skull, person)
    profile = union(
        ellipse(grid, -0.40, 0.30, 0.34, 0.55, 2.6),
        ellipse(grid, -0.74, 0.22, 0.10, 0.14),
        ellipse(grid, 0.22, 0.75, 0.38, 0.62, 3),
    )
    image = _face(image, grid, profile, person)
    airway = union(
        ellipse(grid, -0.42, 0.38, 0.20, 0.07, 3),
        ellipse(grid, -0.08, 0.62, 0.045, 0.30),
        ellipse(grid, -0.22, 0.30, 0.10, 0.07),
    )
    image = paint(image, cover(airway, 0.02), 0.03)
    floor = 0.02 + 0.38 / (1 + np.exp(-(grid.x + 0.12) * 14))
    base = np.minimum(skull, floor - grid.y)
    image = paint(image, cover(skull) * cover(grid.y - floor, 0.02), 0.09)
    brain = base - 0.025
    image = _tissue(image, grid, brain, person)
    open_ = person.uniform(0.7, 1.4)
    arc = np.hypot((grid.x - 0.02) / 1.35, grid.y + 0.06)
    upper = cover(-0.02 - grid.y, 0.02)
    image = paint(image, upper * cover(0.026 - np.abs(arc - 0.20), 0.012), 0.60)
    ventricles = np.minimum(ellipse(grid, 0.02, -0.10, 0.21, 0.07 * open_, 2.4), -0.05 - grid.y)
    image = paint(image, cover(ventricles, 0.015), 0.12)
    image = paint(image, cover(ellipse(grid, 0.03, 0.0, 0.09, 0.055), 0.02), 0.47)
    stem = union(
        ellipse(grid, 0.10, 0.22, 0.075, 0.13, angle=-0.25), ellipse(grid, 0.17, 0.60, 0.045, 0.42, angle=-0.08)
    )
    image = paint(image, cover(stem + 0.035, 0.02), 0.11)
    image = paint(image, cover(stem, 0.02), 0.50)
    folia = 0.09 * np.sin(34 * np.arctan2(grid.y - 0.16, grid.x - 0.24) + 2 * smooth_noise(person, grid, 0.2))
    cerebellum = ellipse(grid, 0.36, 0.17, 0.20, 0.15)
    image = paint(image, cover(cerebellum + 0.02, 0.02), 0.14)
    image = paint(image, cover(cerebellum, 0.02), 0.42 + folia)
    image = paint(image, cover(ellipse(grid, 0.225, 0.18, 0.022, 0.045), 0.02), 0.12)
    tent = ellipse(grid, 0.42, 0.0 + 0.02 * level, 0.20, 0.008, angle=0.25)
    image = paint(image, 0.8 * cover(tent, 0.01), 0.6)
    image = _vessels(image, brain, grid, person)
    return Head(image, grid, skull, brain, ventricles, (-0.13, 0.16))
