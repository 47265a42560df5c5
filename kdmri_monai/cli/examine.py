"""Command that examines runs: examine."""

from pathlib import Path
from typing import Annotated, Any

import typer

from kdmri_monai.cli.application import app, console, told_to_the_user


@app.command()
def examine(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; what their configurations name is run.")],
    split: Annotated[str, typer.Option(help="Split that is examined.")] = "test",
    parts: Annotated[
        str | None,
        typer.Option(
            help="Some of predictions, network_controls, source_probe, data_controls, localisation, predicted_mask, "
            "robustness, efficiency, joined by commas; all by default."
        ),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Dataset folder, where it has moved since the training.")] = None,
    device: Annotated[str | None, typer.Option(help="cuda where there is one, else cpu.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Do again what is there.")] = False,
) -> None:
    """Ask trained networks without the tumour, on corrupted slices and more; a second call goes on where it stopped."""
    from kdmri_monai.engines.configured import device_named
    from kdmri_monai.evaluation.examination import Examination
    from kdmri_monai.evaluation.resampling import Resampling
    from kdmri_monai.evaluation.subject import open_run

    shared: dict[str, Any] = {}
    chosen = None if parts is None else parts.split(",")
    with told_to_the_user():
        place = device_named(device)
        for folder in runs:
            subject = open_run(folder, place, data)
            examination = Examination(subject, folder, split, Resampling(), overwrite, shared)
            with console.status(f"{folder}") as status:
                for name, done in examination.run(chosen):
                    status.update(f"{folder}: {name}")
                    if done:
                        console.print(f"{folder}: {name.replace('_', ' ')}", highlight=False)
