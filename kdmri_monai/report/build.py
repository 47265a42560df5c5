"""The report of runs: one page, and its figures for papers."""

from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

from kdmri_monai.report.class_words import title
from kdmri_monai.report.figure_blocks import FigureBlocks
from kdmri_monai.report.material import Material
from kdmri_monai.report.page import write_page
from kdmri_monai.report.page_model import Page
from kdmri_monai.report.sections import (
    calibration,
    controls,
    data,
    decisions,
    headline,
    limits,
    localisation,
    robustness,
    settings,
    slices,
    strata,
    training,
    transfer,
)


def build_page(material: Material, figures: FigureBlocks) -> Page:
    """Everything that the runs have to say, in the order in which a reviewer asks.

    Args:
        material: From ``gather``.
        figures: Keeps the figures that are drawn.
    """
    sections = (
        headline.section(material, figures),
        training.section(material, figures),
        slices.section(material, figures),
        transfer.section(material, figures),
        decisions.section(material, figures),
        calibration.section(material, figures),
        strata.section(material, figures),
        controls.section(material, figures),
        localisation.section(material),
        robustness.section(material, figures),
        data.section(material),
        settings.section(material),
        limits.section(material),
    )
    runs = [run.path.name for member in material.members for run in member.runs]
    return Page(
        title=title(material.table.classes),
        subtitle=f"{len(runs)} runs, {headline.material_counts(material)}",
        lead=headline.lead(material),
        tiles=headline.tiles(material),
        sections=sections,
        footer=(
            f"Made by kdmri_monai {version('kdmri-monai')} on {datetime.now(timezone.utc):%Y-%m-%d} from the files of "
            f"the runs: {', '.join(runs)}.",
            "For research only.",
        ),
    )


def write_report(
    material: Material, out: Path, figures_out: Path | None = None, formats: Sequence[str] = ("png", "pdf")
) -> list[Path]:
    """Writes the page and, where a folder is given, its figures.

    Args:
        material: From ``gather``.
        out: File of the page, replaced where it is there.
        figures_out: Folder of the figures; ``None`` writes none.
        formats: Of the figures.

    Returns:
        The page, then the figures.

    Raises:
        OSError: A file cannot be written.
    """
    figures = FigureBlocks()
    write_page(build_page(material, figures), out)
    return [out, *(figures.save(figures_out, formats) if figures_out is not None else [])]
