"""Results of a study: its numbers, figures and page, made again by one call."""

from pathlib import Path

from kdmri_monai.data.atomic import write_atomically
from kdmri_monai.data.json_object import read_json_object
from kdmri_monai.evaluation.resampling import Resampling
from kdmri_monai.study.config import StudyError
from kdmri_monai.study.results_collect import COMPARISON, CURVES, FORMAT, RESULTS, collect_results
from kdmri_monai.study.results_figures import draw_differences, draw_study_curves
from kdmri_monai.study.results_page import study_page

PAGE = "README.md"


def write_results(runs: Path, out: Path, resampling: Resampling | None = None) -> list[Path]:
    """Collects what the runs of a study have left behind, and draws it.

    Args:
        runs: Folder of the runs with its ``study.json``.
        out: Folder of the results. Files of an earlier call are replaced.
        resampling: How intervals and p-values are found; 2,000 replicates, 95 %, seed 0 by default.

    Returns:
        The files that were written, the page last.

    Raises:
        As ``collect_results``.
    """
    return [*collect_results(Path(runs), Path(out), resampling), *draw_results(Path(out))]


def draw_results(out: Path) -> list[Path]:
    """Makes figures and page again from the JSON files of a folder of results alone; equal files give equal bytes.

    Args:
        out: Folder that ``write_results`` filled.

    Returns:
        The figures, and ``README.md``.

    Raises:
        FileNotFoundError: A file is missing.
        StudyError: ``results.json`` is of another form.
        ValueError: A file is not JSON.
    """
    results = read_json_object(out / RESULTS)
    if results.get("format") != FORMAT:
        raise StudyError(f"{out / RESULTS}: format is {results.get('format')!r}, expected {FORMAT!r}")
    comparison, figures = None, list[Path]()
    if results["arms"]:
        comparison = read_json_object(out / COMPARISON)
        figures = draw_differences(comparison, out)
        figures += draw_study_curves(read_json_object(out / CURVES)["arms"], out)
    page = study_page(results, comparison, [path.name for path in figures])
    write_atomically(out / PAGE, page.encode())
    return [*figures, out / PAGE]
