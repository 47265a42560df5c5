"""``kdmri``: phantom data, preparation of data sets, comparison of runs. Training is ``python -m monai.bundle run``."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(
    name="kdmri",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Knowledge distillation across architectures for brain-tumour MRI. "
    "Training and evaluation run through the bundle: python -m monai.bundle run training ...",
)
console = Console()

Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar.")]


@contextmanager
def _told_to_the_user() -> Iterator[None]:
    """Errors that the input or the disk is to blame for end in one line, exit status 1; others in a traceback."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        yield
    except (ValueError, OSError) as error:
        typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        typer.secho("interrupted; the same command goes on where it stopped", fg=typer.colors.YELLOW, err=True)
        raise typer.Exit(130) from error


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="Folder for the archives; made where it is missing.")],
    patients: Annotated[int, typer.Option(help="Patients, spread over the three classes.")] = 24,
    seed: Annotated[int, typer.Option(help="Same seed, same files.")] = 0,
    shortcut: Annotated[bool, typer.Option(help="Let the scanner tell the class, to test controls.")] = False,
    size: Annotated[int, typer.Option(help="Rows and columns of an image, pixels.")] = 256,
    quiet: Quiet = False,
) -> None:
    """Write synthetic head slices with tumours, as the Figshare set is published."""
    from kdmri_monai.data.phantom.patients import write_phantoms

    with _told_to_the_user():
        written = write_phantoms(out, patients=patients, seed=seed, shortcut=shortcut, size=size, progress=not quiet)
    console.print(f"{written.slices} phantom slices of {written.patients} patients in {out}")
    console.print(f"next: kdmri prepare {out} DATASET")


@app.command()
def fetch(
    out: Annotated[Path, typer.Argument(help="Folder for the published files.")],
    quiet: Quiet = False,
) -> None:
    """Download the Figshare brain tumour set (Cheng, CC BY 4.0, about 880 MB), with resume and checksums."""
    from kdmri_monai.data.fetch import fetch_figshare

    with _told_to_the_user():
        files = fetch_figshare(out, progress=not quiet)
    for file in files:
        console.print(str(file))


@app.command()
def prepare(
    source: Annotated[
        Path,
        typer.Argument(help="Published zip, folder with the archives, .mat files, class folders, CSV or NIfTI table."),
    ],
    out: Annotated[Path, typer.Argument(help="Dataset folder; made where it is missing.")],
    folds: Annotated[int, typer.Option(help="Parts of about equal size.")] = 5,
    fold: Annotated[int, typer.Option(help="The part held out for the test, from 0.")] = 0,
    validation: Annotated[float, typer.Option(help="Share of the other parts for validation.")] = 0.15,
    seed: Annotated[int, typer.Option(help="Same seed, same split.")] = 0,
    folds_file: Annotated[
        Path | None, typer.Option(help="Published folds: cvind.mat, or digits in a text file.")
    ] = None,
    external: Annotated[bool, typer.Option(help="An outside set: everything is for the test.")] = False,
    size: Annotated[int, typer.Option(help="Rows and columns of the stored images, pixels.")] = 256,
    patient_pattern: Annotated[
        str | None, typer.Option(help="Regular expression that finds the patient id in a picture's file name.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Reading processes; as many as processors by default.")] = None,
    strict: Annotated[bool, typer.Option(help="Stop at the first bad slice instead of skipping it.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace a folder made from another source or options.")] = False,
    quiet: Quiet = False,
) -> None:
    """Read slices of any source into one dataset folder, split by patient family."""
    from kdmri_monai.data.options import PrepareOptions
    from kdmri_monai.data.prepare import prepare_dataset
    from kdmri_monai.data.splits import SplitOptions
    from kdmri_monai.data.summary import render_summary

    with _told_to_the_user():
        options = PrepareOptions(
            store_size=size, workers=workers, strict=strict, overwrite=overwrite, patient_pattern=patient_pattern
        )
        split = SplitOptions(folds, fold, validation, seed, folds_file, external)
        result = prepare_dataset(source, out, options, split, progress=not quiet)
    console.print(render_summary(result.counts, result.datalist["notes"]))
    console.print(f"{result.action}: {result.folder}")


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders that were evaluated.")],
    split: Annotated[str, typer.Option(help="Split that was evaluated.")] = "test",
    reference: Annotated[str | None, typer.Option(help="Run that differences refer to; baseline by default.")] = None,
) -> None:
    """Put evaluated runs side by side: metrics with intervals, and paired differences to one of them."""
    from kdmri_monai.evaluation.comparison import compare_runs
    from kdmri_monai.report.tables import comparison_table

    with _told_to_the_user():
        comparison = compare_runs(runs, split=split, reference=reference)
    console.print(comparison_table(comparison))


@app.command()
def curves(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    out: Annotated[Path, typer.Option(help="Folder for the figures.")] = Path("figures"),
    pdf: Annotated[bool, typer.Option(help="PDF too.")] = False,
) -> None:
    """Draw loss and accuracy over the epochs, runs side by side."""
    from kdmri_monai.evaluation.comparison import run_names
    from kdmri_monai.report.curves import draw_curves

    with _told_to_the_user():
        named = dict(zip(run_names(runs), runs, strict=True))
        figures = draw_curves(named, out, formats=("png", "pdf") if pdf else ("png",))
    for figure in figures:
        console.print(str(figure))
