"""The command that tells what a model of all patients is worth."""

from pathlib import Path
from typing import Annotated

import typer

from kdmri_monai.cli.application import app, told_to_the_user


@app.command()
def estimate(
    run: Annotated[Path, typer.Argument(help="Folder of a run on data without a test part (kdmri prepare --whole).")],
    folds: Annotated[list[Path], typer.Argument(help="Evaluated runs of the same recipe, one for every fold.")],
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    replicates: Annotated[int, typer.Option(help="Replicates of the bootstrap.")] = 2000,
) -> None:
    """Judge the recipe of a model that learned from everybody by runs on folds; card and bundle then state it."""
    with told_to_the_user():
        from kdmri_monai.evaluation.folds_estimate import estimate_from_folds
        from kdmri_monai.evaluation.run_folder import RunFolder
        from kdmri_monai.report.cards.result_facts import percent

        path = estimate_from_folds(run, folds, seed, replicates)
        found = RunFolder(run).metrics("folds") or {}
    for kind in ("slices", "patients"):
        share = percent(found[kind]["balanced_accuracy"])
        typer.echo(f"{kind} (n = {found[kind]['n']}): balanced accuracy {share} %")
    typer.echo(f"{path}\nnext: kdmri pack {run} --out NAME.zip")
