"""What an anatomy table is made of: structures drawn one over the other.

Every plane has one table. All slices of a plane lie within about a centimetre of the sella, whatever the class, so that
the anatomy tells nothing of the lesion. ``level`` -1..1 is the place of a slice in that range.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kdmri_monai.data.phantom.shapes import Points, mirror, spline

SIGNALS: dict[str, float] = {
    "air": 0.02,
    "bone": 0.08,
    "marrow": 0.42,
    "fat": 0.92,
    "muscle": 0.34,
    "mucosa": 0.62,
    "fluid": 0.13,
    "grey": 0.36,
    "nucleus": 0.39,
    "white": 0.47,
    "dura": 0.56,
    "vessel": 0.80,
    "gland": 0.66,
}
"""Brightness on a contrast-enhanced T1 image, 1 for the brightest fat."""


@dataclass(frozen=True)
class Structure:
    """One organ on one side or both.

    Attributes:
        tissue: Key of ``SIGNALS``.
        outline: Closed outline, clockwise, shape ``(P, 2)``.
        paired: Drawn on the other side of the midline too.
        level: Where in the stack it is widest.
        extent: How far it reaches from there; it shrinks to nothing as an ellipsoid does.
        fluid_space: Follows the person's size of ventricles.
    """

    tissue: str
    outline: Points
    paired: bool = False
    level: float = 0.0
    extent: float = np.inf
    fluid_space: bool = False

    def outlines(self, level: float, fluid: float) -> list[Points]:
        """Outlines at a level, for ventricles of relative size ``fluid``; none where the structure is not reached."""
        inside = 1 - ((level - self.level) / self.extent) ** 2
        if inside <= 0.01:
            return []
        scale = np.sqrt(inside) * (fluid if self.fluid_space else 1.0)
        centre = self.outline.mean(axis=0)
        shape = centre + scale * (self.outline - centre)
        return [shape, mirror(shape)] if self.paired else [shape]


@dataclass(frozen=True)
class Atlas:
    """Anatomy of one plane.

    Attributes:
        head: Skin at levels -1 and 1.
        cavity: Inner side of the skull at levels -1 and 1; as many points each.
        outer: Structures outside the brain, drawn before it.
        inner: Structures of the brain, drawn over it.
        folded: Centre from which the sulci radiate.
        falx: Midline or fold of dura that a meningioma may sit on, open line.
        vault: Pieces of the cavity's outline where one may sit, as shares of its points, first and last.
        sella: Where the pituitary lies, and the direction in which its tumour rises; (0, 0) straight at the viewer.
        lobes: Ellipses (x, y, a, b) that may hold the centre of a glioma.
    """

    head: tuple[Points, Points]
    cavity: tuple[Points, Points]
    outer: tuple[Structure, ...]
    inner: tuple[Structure, ...]
    folded: tuple[float, float]
    falx: Points
    vault: tuple[tuple[float, float], ...]
    sella: tuple[tuple[float, float], tuple[float, float]]
    lobes: tuple[tuple[float, float, float, float], ...]


def symmetric(right: Sequence[tuple[float, float]]) -> Points:
    """Closed curve from its right half, given from the top of the midline to its bottom."""
    half = np.asarray(right, dtype=float)
    left = (half[1:-1] * (-1.0, 1.0))[::-1]
    return spline(np.concatenate([half, left]))
