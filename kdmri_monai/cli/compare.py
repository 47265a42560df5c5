"""Command that sets runs against each other: compare."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from kdmri_monai.cli.application import app, console, told_to_the_user


class By(str, Enum):
    """What a row of the table is."""

    run = "run"
    arm = "arm"
    auto = "auto"


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders that were evaluated.")],
    split: Annotated[str, typer.Option(help="Split that was evaluated.")] = "test",
    reference: Annotated[
        str | None, typer.Option(help="Row that differences refer to, by its name; baseline by default.")
    ] = None,
    by: Annotated[
        By,
        typer.Option(help="A row is a run, or an arm: runs that differ by seed and fold alone; auto: arms, if any."),
    ] = By.auto,
    csv: Annotated[Path | None, typer.Option(help="File for the table as CSV.")] = None,
    json: Annotated[Path | None, typer.Option(help="File for everything: intervals, seeds, checksums.")] = None,
) -> None:
    """Put evaluated runs side by side: metrics with intervals, paired differences to one of them, and p-values."""
    from kdmri_monai.evaluation.comparison import compare_runs
    from kdmri_monai.evaluation.comparison_files import write_comparison_csv, write_comparison_json
    from kdmri_monai.report.tables import comparison_table, seeds_table

    with told_to_the_user():
        comparison = compare_runs(runs, split=split, reference=reference, by=by.value)
        if csv is not None:
            write_comparison_csv(comparison, csv)
        if json is not None:
            write_comparison_json(comparison, json)
    console.print(comparison_table(comparison))
    seeds = seeds_table(comparison)
    if seeds is not None:
        console.print("", seeds, sep="\n")
    for file in (csv, json):
        if file is not None:
            typer.echo(str(file))
