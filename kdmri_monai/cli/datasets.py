"""Commands that make data sets: phantom, fetch, prepare, crossfit."""

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from kdmri_monai.cli.application import app, console, told_to_the_user

Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar.")]


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

    with told_to_the_user():
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

    with told_to_the_user():
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
    whole: Annotated[
        bool, typer.Option(help="No test part: for a model for others, once the folds have told what it is worth.")
    ] = False,
    size: Annotated[int, typer.Option(help="Rows and columns of the stored images, pixels.")] = 256,
    patient_pattern: Annotated[
        str | None, typer.Option(help="Regular expression that finds the patient id in a picture's file name.")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help="Classes other than the three, in order: 'low grade,high grade'; a text file with one a line; "
            "or found: as folders or labels are named."
        ),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Reading processes; as many as processors by default.")] = None,
    strict: Annotated[bool, typer.Option(help="Stop at the first bad slice instead of skipping it.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace a folder made from another source or options.")] = False,
    quiet: Quiet = False,
) -> None:
    """Read slices of any source into one dataset folder, split by patient family."""
    from kdmri_monai.data.class_choice import chosen_classes
    from kdmri_monai.data.options import PrepareOptions
    from kdmri_monai.data.prepare import prepare_dataset
    from kdmri_monai.data.splits import SplitOptions
    from kdmri_monai.data.summary import render_summary

    with told_to_the_user():
        options = PrepareOptions(
            store_size=size,
            workers=workers,
            strict=strict,
            overwrite=overwrite,
            patient_pattern=patient_pattern,
            classes=chosen_classes(classes, source),
        )
        split = SplitOptions(folds, fold, validation, seed, folds_file, external, whole)
        result = prepare_dataset(source, out, options, split, progress=not quiet)
    console.print(render_summary(result.counts, result.datalist["notes"]))
    console.print(f"{result.action}: {result.folder}")


@app.command()
def crossfit(
    dataset: Annotated[Path, typer.Argument(help="Dataset folder of kdmri prepare.")],
    parts: Annotated[int, typer.Option(help="Teachers; each leaves out one part of the training families.")] = 3,
    seed: Annotated[int, typer.Option(help="Same seed, same parts.")] = 0,
) -> None:
    """Write a datalist for every member of a cross-fitted teacher, and say how to train and use them."""
    from kdmri_monai.data.crossfit import crossfit_datalists
    from kdmri_monai.data.datalist import read_datalist

    with told_to_the_user():
        lists = crossfit_datalists(dataset / "datalist.json", parts, seed)
        for path in lists:
            content = read_datalist(path)
            counts = f"{content['numTraining']} slices to learn from, {content['numTest']} left out"
            typer.echo(f"{path}: {counts}, {content['numValidation']} for validation")
    runs = [Path("bundles/kd/runs") / f"teacher_without_{part}" for part in range(parts)]
    typer.echo(
        "\ntrain one teacher on each (put geometry_teacher.json behind train.json for teachers that see the mask):"
    )
    for path, run in zip(lists, runs, strict=True):
        typer.echo(f"{_training('teacher')} --datalist {shlex.quote(str(path))} --output_dir {run}")
    checkpoints = json.dumps([str(run / "model.pt") for run in runs])
    typer.echo("\nand the student from all of them, each patient taught by the one that has not learned from it:")
    typer.echo(
        f"{_training('crossfit')} --dataset_dir {shlex.quote(str(dataset))} --output_dir S "
        f"--teacher_ckpts {shlex.quote(checkpoints)}"
    )


def _training(overlay: str) -> str:
    files = f"['bundles/kd/configs/train.json','bundles/kd/configs/{overlay}.json']"
    return f'python -m monai.bundle run training --config_file "{files}"'
