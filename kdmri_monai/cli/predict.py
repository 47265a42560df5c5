"""Command that asks a student about pictures: predict."""

import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from kdmri_monai.cli.application import app, console, told_to_the_user

if TYPE_CHECKING:
    from kdmri_monai.data.findings import Finding
    from kdmri_monai.evaluation.prediction_pictures import Picture
    from kdmri_monai.sharing.judged_pictures import JudgedPicture
    from kdmri_monai.sharing.judged_table import JudgedTable
    from kdmri_monai.sharing.open_student import OpenStudent

NO_HEALTHY_CLASS = (
    "Every picture is given one of three tumours: there is no class for a healthy scan or another disease. "
    "For research only."
)
OTHER_CLASSES = "Every picture is given one of {classes}: there is no class for anything else. For research only."
NOT_ABSTAINING = "That nothing speaks against a picture does not make it one of a tumour."

SHOWN = 20
"""Up to how many pictures, and files that could not be read, are told one by one; table and JSON have them all."""
TOLD = 3
"""How many reasons are told of a picture."""


@app.command()
def predict(
    named: Annotated[
        list[str],
        typer.Argument(
            metavar="[STUDENT] PICTURES...",
            help="Packed bundle, NAME.zip or unpacked, or run folder of a student; the one of this package where none "
            "is named. Then PNG, JPEG, .mat of the Figshare set, NIfTI, DICOM, folders of these, "
            "D/images.npy#17, or a dataset folder (test split).",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder; RUN/predictions, or NAME_predictions for a bundle, by default.")
    ] = None,
    overlay: Annotated[
        bool,
        typer.Option("--overlay", help="Draw the tumour that a geometry head predicts, or where the student looks."),
    ] = False,
    plane: Annotated[
        str | None, typer.Option(help="How NIfTI volumes are cut: axial (default), coronal, sagittal.")
    ] = None,
    slices: Annotated[
        str | None, typer.Option(help="Slices of volumes and series, a:b from 0, both included; all by default.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Side to which pictures are brought first, pixels; that of the training data.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cuda where there is one, else cpu.")] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Open a bundle that fails the audit: I trust it, I know its maker.")
    ] = False,
) -> None:
    """Classify pictures by a trained student, say what speaks against it, and abstain where that is too much."""
    from kdmri_monai.engines.configured import device_named
    from kdmri_monai.evaluation.picture_files import read_pictures
    from kdmri_monai.sharing.open_student import open_student
    from kdmri_monai.sharing.shipped import student_and_pictures

    with told_to_the_user():
        bundle, files = student_and_pictures(named)
        wanted = _range(slices)
        student = open_student(bundle, device_named(device), trusted=trust, size=size)
        folder = out or (bundle / "predictions" if _is_run(bundle) else Path(f"{bundle.stem}_predictions"))
        skipped: list[Finding] = []
        found = _usable(read_pictures(files, student.store_size, plane=plane, slices=wanted), skipped)
        table = _answer(student, found, folder, overlay, {"inputs": files, "plane": plane, "slices": slices}, skipped)
    if bundle == Path(named[0]):
        typer.echo(f"student: {bundle}")
    else:
        typer.echo(f"student: the one that comes with this package, {bundle}")
    _tell(student, table, folder, skipped)
    if skipped:
        raise typer.Exit(1)


def _answer(
    student: "OpenStudent",
    pictures: "Iterator[Picture]",
    folder: Path,
    overlay: bool,
    asked: dict[str, Any],
    skipped: "list[Finding]",
) -> "JudgedTable":
    """Asks about every picture, writes and draws; nothing is written where no picture can be read."""
    from tqdm import tqdm

    from kdmri_monai.report.picture_overlays import PictureOverlays
    from kdmri_monai.sharing.judged_pictures import judge_pictures
    from kdmri_monai.sharing.judged_table import judged_table

    judged = judge_pictures(student, pictures)
    first = next(judged, None)
    if first is None:
        raise ValueError(_none_read(skipped))
    extra = [] if first.prediction.geometry is None else ["tumour_percent"]
    overlays = PictureOverlays(student.network, folder, student.device) if overlay else None
    columns = [*extra, "overlay"] if overlay else extra
    shown: list[JudgedPicture] = []
    bar = tqdm(chain([first], judged), unit=" pictures", file=sys.stderr, disable=None, leave=False)
    with judged_table(folder, student.classes, columns, _settings(student) | asked) as table:
        for one in bar:
            drawn = None if overlays is None else overlays.draw(one.prediction, one.words).name
            table.add(one, drawn)
            if len(shown) < SHOWN:
                shown.append(one)
        table.end(skipped)
    if table.counts.total() <= SHOWN:
        _tell_each(shown)
    return table


def _usable(found: "Iterator[Picture | Finding]", skipped: "list[Finding]") -> "Iterator[Picture]":
    """Pictures, as they are read; findings are put aside, but for those of what was meant to be left out."""
    from kdmri_monai.data.findings import Finding

    for one in found:
        if not isinstance(one, Finding):
            yield one
        elif one.is_bad:
            skipped.append(one)


def _settings(student: "OpenStudent") -> dict[str, Any]:
    from dataclasses import asdict

    profile = student.profile
    limits = None
    if profile is not None:
        limits = {
            "feature_distance": None if profile.distance is None else asdict(profile.distance),
            "confidence": None if profile.confidence is None else asdict(profile.confidence),
            "traits": {name: asdict(usual) for name, usual in profile.traits.items()},
            "compared_with": dict(profile.counts),
        }
    return {
        "student": student.origin,
        "network": type(student.network).__name__,
        "classes": list(student.classes),
        "store_size": student.store_size,
        "temperature": student.temperature,
        "temperature_origin": student.calibration,
        "trust_profile": student.profile_origin,
        "limits": limits,
    }


def _tell_each(shown: "Sequence[JudgedPicture]") -> None:
    for one in shown:
        name, words = escape(one.prediction.picture.name), escape(one.prediction.words)
        if one.abstains:
            words = f"[yellow]abstains[/yellow]; most probable: {words}"
        console.print(f"{name}: {words}", highlight=False, soft_wrap=True)
        for reason in one.reasons[:TOLD]:
            console.print(f"    {reason.kind}: {escape(reason.words)}", highlight=False, soft_wrap=True, style="dim")
        if len(one.reasons) > TOLD:
            console.print(f"    and {len(one.reasons) - TOLD} more, see predictions.json", style="dim", highlight=False)


def _tell(student: "OpenStudent", table: "JudgedTable", folder: Path, skipped: "Sequence[Finding]") -> None:
    from kdmri_monai.data.taxonomy import CLASSES
    from kdmri_monai.sharing.judged_pictures import ABSTAINS

    told = ", ".join(f"{table.counts[name]} {name}" for name in student.classes)
    told += f", {table.counts[ABSTAINS]} without a decision" if student.profile is not None else ""
    typer.echo(f"{table.counts.total()} pictures: {told}\n{folder / 'predictions.csv'} and predictions.json")
    if student.profile is None:
        typer.echo(f"Pictures were not compared with the training data: {student.profile_origin}")
    own = student.classes == CLASSES
    typer.echo(NO_HEALTHY_CLASS if own else OTHER_CLASSES.format(classes=", ".join(student.classes)))
    typer.echo(NOT_ABSTAINING)
    for one in skipped[:SHOWN]:
        typer.secho(f"not read: {one.name}: {one.field} {one.reason}", fg=typer.colors.RED, err=True)
    if len(skipped) > SHOWN:
        typer.secho(f"and {len(skipped) - SHOWN} more, see predictions.json", fg=typer.colors.RED, err=True)


def _none_read(skipped: "Sequence[Finding]") -> str:
    if not skipped:
        return "no picture was found"
    more = f" (and {len(skipped) - 1} more that cannot be used)" if len(skipped) > 1 else ""
    return f"{skipped[0].name}: {skipped[0].field} {skipped[0].reason}{more}"


def _is_run(bundle: Path) -> bool:
    from kdmri_monai.sharing.packed_student import is_packed

    return not is_packed(bundle)


def _range(slices: str | None) -> tuple[int, int] | None:
    """First and last slice of ``a:b``."""
    if slices is None:
        return None
    first, mark, last = slices.partition(":")
    if not (mark and first.isdigit() and last.isdigit()):
        raise ValueError(f"--slices is {slices!r}, expected is a:b, such as 20:40")
    return int(first), int(last)
