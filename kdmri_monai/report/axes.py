"""How every figure looks: colours that colour-blind readers tell apart, thin axes, no ornament."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kdmri_monai.data.atomic import replacing

TRAINING = "#0072B2"
VALIDATION = "#D55E00"
"""Blue and vermilion of Okabe and Ito, "Color universal design", 2008."""

INK, FAINT = "#333333", "#DDDDDD"
SMALL, LABEL = 8.0, 9.0
"""Sizes of numbers and of axis labels, points."""

WIDTH = 1.3
"""Width of a curve, points."""


def tidy(axes: Axes) -> None:
    """Leaves two spines, faint horizontal lines and small ticks; epochs are whole numbers."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.tick_params(labelsize=SMALL, colors=INK, length=3)
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))


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
