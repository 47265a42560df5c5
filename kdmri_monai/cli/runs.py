"""Commands that look at one run at a time: curves, predict."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from kdmri_monai.cli.application import app, console, told_to_the_user

NO_HEALTHY_CLASS = (
    "Every picture is given one of three tumours: there is no class for a healthy scan or another disease. "
    "For research only."
)

SHOWN = 20
"""Up to how many pictures are told one by one; the table has them all."""


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


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="Run folder of a student.")],
    files: Annotated[
        list[str],
        typer.Argument(help="PNG, JPEG, .mat of the Figshare set, D/images.npy#17, or a dataset folder (test split)."),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder; RUN/predictions by default.")] = None,
    overlay: Annotated[bool, typer.Option("--overlay", help="Draw the tumour that a geometry head predicts.")] = False,
    size: Annotated[
        int, typer.Option(help="Side to which pictures are brought first: that of kdmri prepare's store, pixels.")
    ] = 256,
    device: Annotated[str | None, typer.Option(help="cuda where there is one, else cpu.")] = None,
) -> None:
    """Classify pictures by a trained student, and draw where it sees the tumour. Nothing but the pixels is needed."""
    from kdmri_monai.data.taxonomy import CLASSES
    from kdmri_monai.engines.configured import configured_network, device_named, image_steps
    from kdmri_monai.evaluation.picture_table import write_picture_table
    from kdmri_monai.evaluation.prediction_pictures import (
        listed_pictures,
        predict_pictures,
        read_stored,
        sees_geometry,
    )
    from kdmri_monai.report.overlays import draw_predictions

    folder = run / "predictions" if out is None else out
    with told_to_the_user():
        if not run.is_dir():
            raise FileNotFoundError(f"there is no run folder {run}")
        student = configured_network(str(run))
        network, place = student.network, device_named(device)
        if overlay and not sees_geometry(network):
            raise ValueError(f"--overlay wants a student with a geometry head; that of {run} predicts no tumour map")
        steps = image_steps(student.config, student.image_shape[-1])
        pictures = (read_stored(name, size) for name in listed_pictures(files))
        predictions = list(predict_pictures(network.to(place), pictures, steps, place))
        drawn = draw_predictions(predictions, folder) if overlay else None
        write_picture_table(predictions, folder / "predictions.csv", drawn)
    if len(predictions) <= SHOWN:
        for one in predictions:
            typer.echo(f"{one.picture.name}: {one.words}")
    counts = Counter(one.label for one in predictions)
    told = ", ".join(f"{counts[label]} {name}" for label, name in enumerate(CLASSES))
    typer.echo(f"{len(predictions)} pictures: {told}\n{folder / 'predictions.csv'}\n{NO_HEALTHY_CLASS}")
