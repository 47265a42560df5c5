"""Figures of a report: each is drawn once, shown in the page, and written for papers."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from kdmri_monai.report.axes import save
from kdmri_monai.report.page_model import FigureBlock
from kdmri_monai.report.themed_svg import themed_svg


class FigureBlocks:
    """Keeps the figures of a page under their keys."""

    def __init__(self) -> None:
        self._figures: dict[str, Figure] = {}

    def __call__(self, key: str, figure: Figure, title: str, caption: str) -> FigureBlock:
        """A block for the page; the figure is kept for ``save``.

        Args:
            key: Name of the file for papers, unique in the page.
            figure: As drawn by ``report.figures_*``.
            title: Short heading.
            caption: What is seen, with n and what the intervals are.

        Raises:
            ValueError: The key stands for another figure already.
        """
        self.keep(key, figure)
        return FigureBlock(key=key, title=title, caption=caption, svg=themed_svg(figure, title, caption))

    def keep(self, key: str, figure: Figure) -> None:
        """Keeps a figure for ``save`` that the page does not show.

        Raises:
            ValueError: The key stands for another figure already.
        """
        if key in self._figures:
            raise ValueError(f"two figures have the key {key!r}")
        self._figures[key] = figure

    def save(self, out: Path, formats: Sequence[str] = ("png", "pdf")) -> list[Path]:
        """Writes every figure into a folder, named by its key.

        Raises:
            OSError: The folder cannot be written to.
        """
        return [path for key, figure in self._figures.items() for path in save(figure, out / key, formats)]
