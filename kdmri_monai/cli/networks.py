"""Commands that look at networks: taps."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kdmri_monai.cli.application import app, console, told_to_the_user

if TYPE_CHECKING:  # the command line starts without torch
    from kdmri_monai.engines.configured import ConfiguredNetwork

TapNames = Annotated[
    str | None,
    typer.Option(help="Names joined by commas, or JSON for taps with fields; those of the config by default."),
]
Checkpoint = Annotated[Path | None, typer.Option(help="Weights; those of a run folder by default.")]


@app.command()
def taps(
    net: Annotated[
        str,
        typer.Argument(
            help="Run folder, FILE.json#id (files joined by commas), or a class: monai.networks.nets.resnet18."
        ),
    ],
    arguments: Annotated[str, typer.Option(help="JSON: arguments of the class, or overrides by id.")] = "{}",
    image_size: Annotated[
        int | None, typer.Option(help="Rows and columns, pixels; the config's by default, else 96.")
    ] = None,
    image_shape: Annotated[
        str | None, typer.Option(help="Channels and size where images are no squares of one channel: 1,64,64,64.")
    ] = None,
    depth: Annotated[int | None, typer.Option(help="Names of at most so many parts: layer1.0 has two.")] = 3,
    teacher: Annotated[str | None, typer.Option(help="As NET: pair its taps with those of NET, the student.")] = None,
    teacher_arguments: Annotated[str, typer.Option(help="As --arguments, for the teacher.")] = "{}",
    pairing: Annotated[str | None, typer.Option(help="cka: how alike the taps of both represent slices.")] = None,
    data: Annotated[Path | None, typer.Option(help="Dataset folder, for the pairing.")] = None,
    split: Annotated[str, typer.Option(help="Split that is compared.")] = "validation",
    slices: Annotated[int, typer.Option(help="Slices that are compared, spread evenly over the split.")] = 256,
    student_taps: TapNames = None,
    teacher_taps: TapNames = None,
    student_ckpt: Checkpoint = None,
    teacher_ckpt: Checkpoint = None,
    device: Annotated[str | None, typer.Option(help="cuda where there is one, else cpu.")] = None,
) -> None:
    """List where features of a network can be tapped, or pair the taps of a student and a teacher."""
    with told_to_the_user():
        _check_together(teacher, pairing, data, image_shape)
        import torch

        from kdmri_monai.engines.configured import configured_network

        torch.manual_seed(0)  # networks without weights are the same at every call
        shape = None if image_shape is None else _whole_numbers(image_shape)
        student = configured_network(net, _object(arguments, "--arguments"), image_size, shape, student_ckpt)
        if teacher is None:
            return _show_survey(student, depth)
        size = student.image_shape[-1]
        taught_by = configured_network(
            teacher, _object(teacher_arguments, "--teacher-arguments"), image_size, checkpoint=teacher_ckpt
        )
        if taught_by.image_shape[-1] != size:
            raise ValueError(
                f"the student sees {size} pixels and the teacher {taught_by.image_shape[-1]}: give one --image-size"
            )
        assert data is not None
        chosen = _tap_specs(student, student_taps, "student"), _tap_specs(taught_by, teacher_taps, "teacher")
        _show_pairing(student, taught_by, chosen, data / "datalist.json", split, slices, device)
    return None


def _show_survey(student: "ConfiguredNetwork", depth: int | None) -> None:
    from kdmri_monai.networks import survey
    from kdmri_monai.report.tap_tables import survey_table

    try:
        rows = survey(student.network, student.image_shape, depth)
    except (RuntimeError, IndexError) as error:  # of torch, from an image that the network cannot take
        raise ValueError(f"the network cannot take images of shape {student.image_shape}: {error}") from error
    console.print(survey_table(rows))


def _show_pairing(
    student: "ConfiguredNetwork",
    teacher: "ConfiguredNetwork",
    chosen: tuple[list[Any], list[Any]],
    datalist: Path,
    split: str,
    slices: int,
    device: str | None,
) -> None:
    from kdmri_monai.engines.configured import device_named, image_steps, slice_batches
    from kdmri_monai.evaluation.tap_pairing import pair_taps
    from kdmri_monai.report.tap_tables import cka_table

    place, size = device_named(device), student.image_shape[-1]
    batches = slice_batches(datalist, split, image_steps(student.config, size), size, slices)
    networks = student.network.to(place), teacher.network.to(place)
    found = pair_taps(*networks, *chosen, batches, place)
    console.print(cka_table(found.matrix, found.student_names, found.teacher_names, found.pairs))
    for role, side in (("student", student), ("teacher", teacher)):
        weights = "random weights, which say little" if side.weights is None else str(side.weights)
        seen = ", ".join(["image", *getattr(side.network, "privileged_keys", ())])
        typer.echo(f"{role}: {type(side.network).__name__}, {weights}; was given {seen}")
    typer.echo(f"{found.samples} slices of {split}. CKA chooses layers; it can be 1 while the geometry differs.")


def _check_together(teacher: str | None, pairing: str | None, data: Path | None, shape: str | None) -> None:
    if pairing not in (None, "cka"):
        raise ValueError(f"--pairing is {pairing!r}, allowed is cka")
    given = {"--teacher": teacher is not None, "--pairing cka": pairing is not None, "--data": data is not None}
    if any(given.values()) and not all(given.values()):
        missing = ", ".join(name for name, there in given.items() if not there)
        raise ValueError(f"a pairing wants --teacher, --pairing cka and --data; missing: {missing}")
    if teacher is not None and shape is not None:
        raise ValueError("slices of a dataset folder are squares: give --image-size instead of --image-shape")


def _tap_specs(side: "ConfiguredNetwork", given: str | None, role: str) -> list[Any]:
    if given is None:
        if f"{role}_taps" not in side.config:
            raise ValueError(f"say where the {role} is read: --{role}-taps a,b (kdmri taps NET lists the names)")
        return list(side.config.get_parsed_content(f"{role}_taps"))
    if given.startswith("["):
        return list(_json(given, f"--{role}-taps"))
    return given.split(",")


def _object(text: str, option: str) -> dict[str, Any]:
    content = _json(text, option)
    if not isinstance(content, dict):
        raise ValueError(f"{option} is {text}, a JSON object is expected")
    return content


def _json(text: str, option: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{option} is no JSON: {error}") from error


def _whole_numbers(text: str) -> list[int]:
    sizes = [int(part) if part.strip().isdigit() else 0 for part in text.split(",")]
    if len(sizes) < 3 or min(sizes) < 1:
        raise ValueError(f"--image-shape is {text!r}, expected channels and sizes joined by commas, like 1,64,64,64")
    return sizes
