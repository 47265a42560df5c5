"""How every figure looks: colours that colour-blind readers tell apart, thin axes, no ornament."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from kdmri_monai.data.atomic import replacing

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
"""Okabe and Ito, "Color universal design", 2008; the first four have a contrast of 3 on white and on near-black."""

TRAINING, VALIDATION = BLUE, VERMILION

INK, FAINT, MUTED, PAPER = "#333333", "#DDDDDD", "#767676", "#FFFFFF"
"""Text and axes; grid; what stands back and is read on white and on near-black; what lies behind."""

SMALL, LABEL = 8.0, 9.0
"""Sizes of numbers and of axis labels, points."""

WIDTH = 1.3
"""Width of a curve, points."""

PANEL = 3.6
"""Width of a figure of one panel, inches: a phone that shows it 330 px wide leaves 8 points readable."""

DOTS = 200
"""Dots an inch of a PNG."""


@dataclass(frozen=True)
class Style:
    """Colour, dashes and marker of one of several series, so that colour never tells alone."""

    colour: str
    dash: str | tuple[int, tuple[float, ...]]
    marker: str


COLOURS = (BLUE, VERMILION, GREEN, PURPLE, INK, ORANGE, SKY)
DASHES = ("solid", (0, (5, 1.5)), (0, (6, 1.5, 1, 1.5)), (0, (1.2, 1.2)), (0, (9, 2)))
MARKERS = "os^Dv<>ph"


def style(place: int) -> Style:
    """Look of the series at this place, from 0; the first 35 have a pair of colour and dashes of their own."""
    return Style(COLOURS[place % len(COLOURS)], DASHES[place % len(DASHES)], MARKERS[place % len(MARKERS)])


def new_figure(height: float, width: float = PANEL) -> Figure:
    """An empty figure of this many inches that lays itself out."""
    return Figure(figsize=(width, height), layout="constrained", dpi=DOTS)


def frame(axes: Axes, grid: Literal["x", "y", "both"] = "y") -> None:
    """Leaves two spines, faint lines across the ``grid`` axis (``x``, ``y`` or ``both``) and small ticks."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.tick_params(labelsize=SMALL, colors=INK, length=3)
    axes.grid(axis=grid, color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)


def tidy(axes: Axes) -> None:
    """The frame of what is drawn over epochs, which are whole numbers."""
    frame(axes)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))


def name_axes(axes: Axes, x: str = "", y: str = "") -> None:
    """Words and units beside the axes."""
    axes.set_xlabel(x, fontsize=LABEL, color=INK)
    axes.set_ylabel(y, fontsize=LABEL, color=INK)


def key_below(figure: Figure, handles: Sequence[Artist], columns: int = 1) -> None:
    """A key under everything, so that it hides nothing."""
    look: dict[str, Any] = {"fontsize": SMALL, "labelcolor": INK, "frameon": False}
    shape: dict[str, Any] = {"columnspacing": 1.2, "handlelength": 2.4, "borderpad": 0.0, "labelspacing": 0.35}
    figure.legend(handles=handles, loc="outside lower left", ncols=columns, **look, **shape)


def write_lines(axes: Axes, x: float, y: float, lines: Sequence[str], align: str, **text: Any) -> None:
    """Lines of text of their own, centred on a point in data units: a browser with another font aligns each of them.

    Args:
        axes: Where.
        x: Place of the alignment.
        y: Middle of the block.
        lines: One or more.
        align: ``left``, ``center`` or ``right``.
        text: What else ``Axes.annotate`` takes.
    """
    step = 1.2 * SMALL
    for number, line in enumerate(lines):
        offset = step * ((len(lines) - 1) / 2 - number)
        place: dict[str, Any] = {"xytext": (0, offset), "textcoords": "offset points", "annotation_clip": False}
        axes.annotate(line, (x, y), ha=align, va="center", **{"fontsize": SMALL, "color": INK, **place, **text})


def pixels(figure: Figure, dots: int = 100) -> NDArray[np.uint8]:
    """A figure as a picture, for TensorBoard.

    Args:
        figure: Figure to be drawn.
        dots: Dots an inch.

    Returns:
        Shape ``(rows, columns, 3)``.
    """
    usual = figure.dpi
    figure.set_dpi(dots)
    try:
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.array(canvas.buffer_rgba())[..., :3].copy()
    finally:
        figure.set_dpi(usual)


def save(figure: Figure, out: Path, formats: Sequence[str]) -> list[Path]:
    """Writes a figure as ``out`` with each format's suffix; equal figures give equal bytes.

    Args:
        figure: Figure to be written.
        out: Path without suffix.
        formats: Any of ``png`` (200 dots an inch) and ``pdf``.

    Returns:
        The files, in the order of ``formats``.

    Raises:
        ValueError: Another format was asked for.
    """
    unknown = [form for form in formats if form not in ("png", "pdf")]
    if unknown:
        raise ValueError(f"format {unknown[0]!r} is not known, allowed are png and pdf")
    paths = []
    for form in formats:
        path = out.with_name(f"{out.name}.{form}")
        with replacing(path) as temporary:
            if form == "png":
                FigureCanvasAgg(figure).print_png(temporary, metadata={"Software": None})
            else:
                FigureCanvasPdf(figure).print_pdf(temporary, metadata={"CreationDate": None})
        paths.append(path)
    return paths
