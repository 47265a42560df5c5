"""A head without a lesion, painted from the table of its plane: face, scalp, skull, fluid, brain and its parts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdmri_monai.data.phantom import axial, coronal, sagittal
from kdmri_monai.data.phantom.atlas import SIGNALS, Atlas, Structure
from kdmri_monai.data.phantom.body import Body, Pose
from kdmri_monai.data.phantom.shapes import Array, Points, ellipse, grow, paint, resampled
from kdmri_monai.data.phantom.texture import cortex, folia, mottled, soft_tissue

ATLASES: dict[str, Atlas] = {"axial": axial.ATLAS, "coronal": coronal.ATLAS, "sagittal": sagittal.ATLAS}
SKIN = 0.012
DURA_POINTS = 240
_DISC = np.concatenate([ellipse(0, 0, r, r, count=n) for r, n in ((0.02, 1), (0.35, 6), (0.7, 12), (1.0, 18))])


@dataclass(frozen=True)
class Head:
    """A head in one plane and what a lesion needs to know of it; points are (x, y) in half fields of view.

    Attributes:
        signal: Brightness, about 0 in air and 1 in fat, shape ``(S, S)``.
        cavity: Share of every pixel that lies inside the skull, shape ``(S, S)``.
        dura: Inner side of the skull, clockwise, at equal distances, shape ``(P, 2)``.
        vault: Whether a meningioma may sit at a point of ``dura``, shape ``(P,)``.
        falx: Fold of dura inside the skull, open line.
        sella: Where the pituitary lies, shape ``(2,)``.
        rise: Direction in which its tumour rises, shape ``(2,)``; length 0 where that is towards the viewer.
        lobes: Points that may be the centre of a glioma, shape ``(L, 2)``.
    """

    signal: Array
    cavity: Array
    dura: Points
    vault: NDArray[np.bool_]
    falx: Points
    sella: NDArray[np.float64]
    rise: NDArray[np.float64]
    lobes: Points


def draw_head(plane: str, person: np.random.Generator, size: int, level: float = 0.0, pose: Pose | None = None) -> Head:
    """Draw the head of one person.

    Args:
        plane: One of ``taxonomy.PLANES``.
        person: Draws what tells one person from another; the same state gives the same head at every level and size.
        size: Rows and columns, pixels.
        level: Place of the slice in the range of its table, -1..1.
        pose: Where the head lies in the image; upright and centred by default.

    Raises:
        ValueError: Another plane.
    """
    if plane not in ATLASES:
        raise ValueError(f"plane is {plane!r}, allowed are {', '.join(ATLASES)}")
    painter = _Painter(ATLASES[plane], Body.draw(person), pose or Pose(), size, level)
    painter.draw_outside(person)
    painter.draw_brain(person)
    return painter.head()


class _Painter:
    """One slice while it is painted, from outside to inside."""

    def __init__(self, atlas: Atlas, body: Body, pose: Pose, size: int, level: float) -> None:
        self.atlas, self.body, self.pose, self.level = atlas, body, pose, level
        self.signal = np.full((size, size), SIGNALS["air"], np.float32)
        self.cavity = np.zeros_like(self.signal)
        self.skin, self.inner = (
            self.place((1 - level) / 2 * low + (1 + level) / 2 * high) for low, high in (atlas.head, atlas.cavity)
        )
        paint(self.cavity, self.inner, 1.0)

    def place(self, points: Points) -> Points:
        """Points of the table in this image."""
        return self.pose.place(self.body.shape(points))

    def draw_outside(self, person: np.random.Generator) -> None:
        """Face and neck, fat of the scalp, skull with marrow, dura."""
        soft = soft_tissue(person, len(self.signal))
        bone = self.body.thickness(self.inner, self.body.bone)
        scalp = self.body.thickness(self.inner[::-1], self.body.scalp)[::-1]
        under = grow(self.skin, -SKIN)
        within = np.zeros_like(self.signal)
        paint(within, under, 1.0)
        paint(self.signal, self.skin, SIGNALS["mucosa"])
        paint(self.signal, under, soft)
        paint(self.signal, grow(self.inner, bone + scalp), SIGNALS["fat"] * self.body.fat, within)
        self._draw(self.atlas.outer, within, {t: mottled(person, len(soft), t) for t in ("muscle", "marrow", "mucosa")})
        paint(self.signal, grow(self.inner, bone), SIGNALS["bone"], within)
        marrow = np.clip(0.85 * soft, 0.1, SIGNALS["marrow"]) * self.body.diploe
        paint(self.signal, grow(self.inner, 0.72 * bone), marrow, within)
        paint(self.signal, grow(self.inner, 0.36 * bone), SIGNALS["bone"], within)
        paint(self.signal, self.inner, 0.75 * SIGNALS["dura"])
        paint(self.signal, grow(self.inner, -0.006), SIGNALS["fluid"])

    def draw_brain(self, person: np.random.Generator) -> None:
        """Cortex and white matter, and what lies in them."""
        size = len(self.signal)
        centre = self.place(np.array([self.atlas.folded]))[0]
        matter = cortex(person, size, self.cavity, centre, self.level)
        paint(self.signal, grow(self.inner, -0.020 * self.body.fluid), matter)
        self._draw(self.atlas.inner, self.cavity, {"folia": folia(person, size)})

    def _draw(self, structures: Sequence[Structure], within: Array, textures: dict[str, Array]) -> None:
        for structure in structures:
            value = textures[structure.tissue] if structure.tissue in textures else SIGNALS[structure.tissue]
            for outline in structure.outlines(self.level, self.body.fluid):
                paint(self.signal, self.place(outline), value, within)

    def head(self) -> Head:
        """The finished slice and its landmarks."""
        atlas, dura = self.atlas, resampled(self.inner, DURA_POINTS)
        share = np.arange(DURA_POINTS) / DURA_POINTS
        lobes = np.concatenate([_DISC * (a, b) + (x, y) for x, y, a, b in atlas.lobes])
        return Head(
            signal=self.signal,
            cavity=self.cavity,
            dura=dura,
            vault=np.any([(share >= first) & (share < last) for first, last in atlas.vault], axis=0),
            falx=self.place(atlas.falx),
            sella=self.place(np.array([atlas.sella[0]]))[0],
            rise=self.pose.direct(np.array([atlas.sella[1]]))[0],
            lobes=self.place(lobes),
        )
