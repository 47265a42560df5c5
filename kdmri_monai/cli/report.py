"""Commands that write about runs: report, card."""

from pathlib import Path
from typing import Annotated

import typer

from kdmri_monai.cli.application import app, console, told_to_the_user


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders: teacher, baselines, distilled students, any seeds.")],
    out: Annotated[Path, typer.Option(help="The page, one file that needs no network.")] = Path("report.html"),
    split: Annotated[str, typer.Option(help="Split that is reported.")] = "test",
    reference: Annotated[str | None, typer.Option(help="Arm that differences refer to; baseline by default.")] = None,
    data: Annotated[Path | None, typer.Option(help="Dataset folder, where it has moved since the training.")] = None,
    figures: Annotated[
        Path | None, typer.Option(help="Folder of the figures as PNG and PDF; beside the page by default.")
    ] = None,
    examine: Annotated[
        bool, typer.Option(help="First examine what was not examined yet, as kdmri examine does.")
    ] = True,
    device: Annotated[str | None, typer.Option(help="For the examination: cuda where there is one, else cpu.")] = None,
) -> None:
    """Turn runs into one page: headline, curves, slices, controls, robustness; and its figures for papers."""
    from kdmri_monai.cli.examine import examine as examine_runs
    from kdmri_monai.report.build import write_report
    from kdmri_monai.report.material import gather

    if examine:
        examine_runs(runs, split=split, data=data, device=device)
    folder = out.with_name(f"{out.stem}_figures") if figures is None else figures
    with told_to_the_user(), console.status("writing the page"):
        files = write_report(gather(runs, split, reference, data), out, folder)
    typer.echo(f"{out}\n{folder}: {len(files) - 1} files, figures as PNG and PDF")


@app.command()
def card(
    run: Annotated[Path, typer.Argument(help="Run folder that was evaluated, and best examined.")],
    out: Annotated[Path | None, typer.Option(help="Folder; that of the run by default.")] = None,
    split: Annotated[str, typer.Option(help="Split that was evaluated.")] = "test",
    data: Annotated[Path | None, typer.Option(help="Dataset folder, where it has moved since the training.")] = None,
) -> None:
    """Write MODEL_CARD.md and the CLAIM checklist of a run, filled from its files."""
    from kdmri_monai.report.cards.documents import write_documents
    from kdmri_monai.report.cards.run_facts import run_facts

    with told_to_the_user():
        datalist = None if data is None else data / "datalist.json"
        for file in write_documents(run_facts(run, split, datalist), run if out is None else out):
            typer.echo(str(file))
