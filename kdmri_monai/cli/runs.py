"""Command that looks at runs: curves."""

from pathlib import Path
from typing import Annotated

import typer

from kdmri_monai.cli.application import app, console, told_to_the_user


@app.command()
def curves(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    out: Annotated[Path, typer.Option(help="Folder for the figures.")] = Path("figures"),
    pdf: Annotated[bool, typer.Option(help="PDF too.")] = False,
) -> None:
    """Draw loss and accuracy over the epochs, runs side by side."""
    from kdmri_monai.evaluation.comparison import run_names
    from kdmri_monai.report.curves import draw_curves

    with told_to_the_user():
        named = dict(zip(run_names(runs), runs, strict=True))
        figures = draw_curves(named, out, formats=("png", "pdf") if pdf else ("png",))
    for figure in figures:
        console.print(str(figure))
