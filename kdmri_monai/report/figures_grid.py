"""Slices with "Pred / True", for papers and for TensorBoard: mistakes first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from kdmri_monai.report.axes import DOTS, GREEN, INK, LABEL, SKY, SMALL, VERMILION

RIGHT, WRONG = "\N{CHECK MARK}", "\N{BALLOT X}"
CELL, GAP, WORDS, HEAD, FOOT = 1.68, 0.1, 0.4, 0.2, 0.68
"""Inches: width of a slice, between slices, for the words above one, above all and below all."""

TISSUE = "#808080"
KEY: dict[str, Any] = {
    "loc": "lower left",
    "fontsize": SMALL,
    "labelcolor": INK,
    "frameon": False,
    "borderaxespad": 0.3,
}

STRONGEST = 0.6
"""Opacity of the hottest place; heat fades to nothing, so that the slice stays visible."""

Grey = NDArray[np.generic]


@dataclass(frozen=True, eq=False)
class GridCell:
    """One slice and what was said of it.

    Attributes:
        image: Grey values, shape ``(S, S)``.
        true: Name of the true class.
        predicted: Name of the predicted class.
        probability: Of the predicted class, 0..1.
        mask: Tumour, boolean, shape ``(S, S)``; ``None`` where it is not known.
        heat: Heat map, 0 and above, shape ``(S, S)``; ``None`` for none. It is scaled by its own maximum.
    """

    image: Grey
    true: str
    predicted: str
    probability: float
    mask: NDArray[np.bool_] | None = None
    heat: NDArray[np.floating] | None = None

    @property
    def right(self) -> bool:
        """Whether the prediction is the true class."""
        return self.true == self.predicted


def prediction_grid(cells: Sequence[GridCell], columns: int = 4, total: int | None = None) -> Figure:
    """A grid of slices; mistakes come first, the most confident of them before the others.

    Args:
        cells: One or more.
        columns: Slices side by side, 2 for a phone.
        total: Slices that these were taken from, for the line above.

    Raises:
        ValueError: No slices, no columns, or a mask or heat map that is not of the size of its image.
    """
    if not cells or columns < 1:
        raise ValueError(f"{len(cells)} slices in {columns} columns: at least one of each is needed")
    for cell in cells:
        _check(cell)
    wide = max(2, min(columns, len(cells)))
    rows = -(-len(cells) // wide)
    width, height = wide * (CELL + GAP) + GAP, HEAD + rows * (WORDS + CELL) + FOOT
    figure = Figure(figsize=(width, height), dpi=DOTS)
    for place, cell in enumerate(mistakes_first(cells)):
        left = GAP + place % wide * (CELL + GAP)
        bottom = height - HEAD - (place // wide + 1) * (WORDS + CELL)
        _draw(figure.add_axes((left / width, bottom / height, CELL / width, CELL / height)), cell)
    heading: dict[str, Any] = {"x": GAP / width, "y": 1 - 0.06 / height, "ha": "left", "va": "top"}
    figure.suptitle(_heading(cells, total), fontsize=LABEL, color=INK, **heading)
    figure.legend(handles=_key(cells), **KEY)
    if any(cell.heat is not None for cell in cells):
        left = width - GAP - 0.85 * CELL
        _heat_scale(figure, figure.add_axes((left / width, 0.36 / height, 0.72 * CELL / width, 0.08 / height)))
    return figure


def mistakes_first(cells: Sequence[GridCell]) -> list[GridCell]:
    """Wrong before right; among the wrong the most confident first, among the right the least."""
    return sorted(cells, key=lambda cell: (cell.right, cell.probability if cell.right else -cell.probability))


def _heading(cells: Sequence[GridCell], total: int | None) -> str:
    wrong = sum(not cell.right for cell in cells)
    of = "" if total is None else f" of {total:,}"
    return f"{len(cells)}{of} slices, {wrong} of these wrong"


def _draw(axes: Axes, cell: GridCell) -> None:
    axes.imshow(cell.image, cmap="gray", interpolation="nearest")
    if cell.heat is not None and cell.heat.max() > 0:
        axes.imshow(cell.heat / cell.heat.max(), cmap=HEAT, vmin=0.0, vmax=1.0, interpolation="bilinear")
    if cell.mask is not None and cell.mask.any() and not cell.mask.all():
        axes.contour(cell.mask.astype(float), levels=[0.5], colors=[SKY], linewidths=1.0, linestyles="dashed")
    axes.set(xticks=[], yticks=[])
    colour, dash, width = (GREEN, "-", 1.4) if cell.right else (VERMILION, (0, (3, 1.5)), 2.6)
    for spine in axes.spines.values():
        spine.set(color=colour, linestyle=dash, linewidth=width)
    mark = RIGHT if cell.right else WRONG
    above: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "bottom", "color": INK}
    said = f"{mark} Pred: {_short(cell.predicted)} {_probability(cell.probability)}"
    axes.annotate(said, (0, 1), (0, 13), fontsize=SMALL, **above)
    axes.annotate(f"True: {_short(cell.true)}", (0, 1), (0, 3), fontsize=SMALL, **above)


def _short(name: str) -> str:
    return name.removesuffix(" tumour")


def _probability(value: float) -> str:
    return f"{value:.2f}".removeprefix("0")


def _faded_heat() -> ListedColormap:
    colours = mpl.colormaps["magma"](np.linspace(0.25, 1.0, 256))
    colours[:, 3] = STRONGEST * np.linspace(0.0, 1.0, 256)
    return ListedColormap(colours, "faded magma")


HEAT = _faded_heat()


def _heat_scale(figure: Figure, place: Axes) -> None:
    place.set_facecolor(TISSUE)
    scale = figure.colorbar(ScalarMappable(Normalize(0.0, 1.0), HEAT), cax=place, orientation="horizontal")
    scale.set_ticks([0.0, 0.5, 1.0], labels=["0", "half", "most"])
    scale.ax.tick_params(labelsize=SMALL, colors=INK, length=2)
    place.set_title("Heat of a slice", fontsize=SMALL, color=INK, pad=2)
    scale.outline.set_visible(False)


def _key(cells: Sequence[GridCell]) -> list[Patch | Line2D]:
    key: list[Patch | Line2D] = []
    if any(not cell.right for cell in cells):
        key.append(Patch(fill=False, ec=VERMILION, lw=1.8, ls=(0, (3, 1.5)), label=f"{WRONG} wrong"))
    if any(cell.right for cell in cells):
        key.append(Patch(fill=False, ec=GREEN, lw=1.4, label=f"{RIGHT} right"))
    if any(cell.mask is not None for cell in cells):
        key.append(Line2D([], [], color=SKY, lw=1.0, ls="dashed", label="true border of the tumour"))
    return key


def _check(cell: GridCell) -> None:
    if cell.image.ndim != 2:
        raise ValueError(f"an image has rows and columns, got shape {cell.image.shape}")
    for name in ("mask", "heat"):
        other = getattr(cell, name)
        if other is not None and other.shape != cell.image.shape:
            raise ValueError(f"the {name} has shape {other.shape}, its image {cell.image.shape}")
