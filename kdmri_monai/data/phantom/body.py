"""What tells one person's head from another's, and how it lies in the image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdmri_monai.data.phantom.noise import field_at, heights
from kdmri_monai.data.phantom.shapes import Points


@dataclass(frozen=True)
class Pose:
    """Where the head lies in the image: clockwise turn in radians, zoom, shift (x, y) in half fields of view."""

    turn: float = 0.0
    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)

    def direct(self, vectors: Points) -> Points:
        """Directions of the head in the image, their lengths kept."""
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        turned: Points = vectors @ np.array([[cos, sin], [-sin, cos]])
        return turned

    def place(self, points: Points) -> Points:
        """Points of the head in the image."""
        return self.zoom * self.direct(points) + np.asarray(self.shift)


@dataclass(frozen=True)
class Body:
    """One person in one plane.

    Attributes:
        stretch: Relative width and height of the head.
        bend: Heights of two smooth fields, the displacement of every point along x and y.
        unevenness: Heights of the field by which bone and scalp are thicker here and thinner there.
        bone: Thickness of the skull.
        scalp: Thickness of the fat over it.
        fat: Relative brightness of fat.
        diploe: Relative brightness of the marrow in the skull.
        fluid: Relative size of the ventricles and of the space around the brain.
    """

    stretch: tuple[float, float]
    bend: NDArray[np.float64]
    unevenness: NDArray[np.float64]
    bone: float
    scalp: float
    fat: float
    diploe: float
    fluid: float

    @classmethod
    def draw(cls, person: np.random.Generator) -> "Body":
        """A person drawn at random."""
        scale, aspect = person.uniform(1.0, 1.12), person.uniform(0.97, 1.03)
        return cls(
            stretch=(scale * aspect, scale / aspect),
            bend=0.014 * np.stack([heights(person, 4), heights(person, 4)]),
            unevenness=heights(person, 5),
            bone=person.uniform(0.040, 0.060),
            scalp=person.uniform(0.030, 0.055),
            fat=person.uniform(0.85, 1.05),
            diploe=person.uniform(0.5, 1.1),
            fluid=person.uniform(0.75, 1.35),
        )

    def shape(self, points: Points) -> Points:
        """Points of the table on this person."""
        bent = points + np.stack([field_at(self.bend[0], points), field_at(self.bend[1], points)], axis=1)
        return bent * np.asarray(self.stretch)

    def thickness(self, outline: Points, mean: float) -> Points:
        """Thickness of a layer of ``mean`` thickness along an outline, shape ``(P, 1)``."""
        return mean * np.clip(1 + 0.22 * field_at(self.unevenness, outline), 0.6, 1.5)[:, None]
