"""The student that comes with this package: where it is, and which slices it has learned from."""

import zipfile
from importlib.resources import files
from os import PathLike
from pathlib import Path

from torch import nn

from kdmri_monai.data.datalist import load_split
from kdmri_monai.data.errors import LeakageError
from kdmri_monai.data.json_object import read_json_object
from kdmri_monai.engines.recorded_size import recorded_image_size
from kdmri_monai.sharing.packed_student import CONFIG, WEIGHTS, open_packed

FOLDER = "shipped_student"
SLICES = "shipped_slices.txt"
DIGITS = 16
"""Of the SHA-256 of a slice, hexadecimal, that are kept of those that were learned from."""
WEIGHTS_OF_A_RUN = "model.pt"
RUN_FILES = ("run.json", "config.json", WEIGHTS_OF_A_RUN)


def shipped_student() -> Path:
    """Folder of the packed bundle.

    Raises:
        FileNotFoundError: The package was installed without it.
    """
    folder = Path(str(files("kdmri_monai"))) / FOLDER
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(f"there is no student in {folder}: name a bundle or a run folder")
    return folder


def student_and_pictures(named: list[str]) -> tuple[Path, list[str]]:
    """Which student is asked about which pictures: the first name, where it is a student, else the one shipped.

    Args:
        named: A bundle or run folder or none, then pictures, as ``read_pictures`` takes them.

    Raises:
        FileNotFoundError: The package was installed without a student, and none is named.
        ValueError: A student and no picture.
    """
    if _is_picture(named[0]):
        return shipped_student(), named
    if len(named) == 1:
        raise ValueError(f"{named[0]}: no picture is named, only a student")
    return Path(named[0]), named[1:]


def checkpoint_or_shipped(
    output_dir: str | PathLike[str],
    default_dir: str | PathLike[str],
    datalist: str | PathLike[str],
    split: str,
    image_size: int,
) -> Path:
    """Weights to evaluate: those of a run; of the student that is shipped where no run was named and none is there.

    Args:
        output_dir: Folder of the run.
        default_dir: What ``output_dir`` is where nobody says anything.
        datalist: ``datalist.json`` of the data.
        split: Split that will be asked about.
        image_size: Rows of the images, pixels.

    Raises:
        LeakageError: The student that is shipped has learned from slices of this split.
        ValueError: It takes images of another size.
    """
    if not _takes_shipped(output_dir, default_dir):
        return Path(output_dir) / WEIGHTS_OF_A_RUN
    size = shipped_image_size()
    if size != image_size:
        raise ValueError(f"image_size is {image_size}, the student that is shipped takes {size}")
    refuse_seen(Path(datalist), split)
    return shipped_student() / WEIGHTS


def evaluated_image_size(output_dir: str | PathLike[str], default_dir: str | PathLike[str], otherwise: int) -> int:
    """Rows of the images for an evaluation: those of the run, or of the student that is shipped where that is taken.

    Args:
        output_dir: Folder of the run.
        default_dir: What ``output_dir`` is where nobody says anything.
        otherwise: Of a run without a record.

    Raises:
        ValueError: A record that cannot be read.
    """
    if _takes_shipped(output_dir, default_dir):
        return shipped_image_size()
    return recorded_image_size(output_dir, otherwise)


def shipped_image_size() -> int:
    """Rows of the images that the shipped student takes, pixels."""
    size: int = read_json_object(shipped_student() / CONFIG)["image_size"]
    return size


def shipped_network() -> nn.Module:
    """The shipped student with its weights, in eval mode, on the CPU; whatever network the configuration describes."""
    return open_packed(shipped_student()).network


def _takes_shipped(output_dir: str | PathLike[str], default_dir: str | PathLike[str]) -> bool:
    """Whether no run was named and none is there."""
    return Path(output_dir) == Path(default_dir) and not (Path(output_dir) / WEIGHTS_OF_A_RUN).is_file()


def is_shipped(checkpoint: str | PathLike[str] | None) -> bool:
    """Whether weights are those of the student that is shipped."""
    return checkpoint is not None and FOLDER in Path(checkpoint).parts


def refuse_seen(datalist: Path, split: str) -> None:
    """Refuses data that the shipped student has learned from; told by the pixels, whatever the files are called.

    Args:
        datalist: ``datalist.json``.
        split: ``training``, ``validation`` or ``test``.

    Raises:
        LeakageError: Some of its slices were learned from.
    """
    known = seen_slices()
    entries = load_split(datalist, split)
    seen = sum(str(entry.get("sha256", ""))[:DIGITS] in known for entry in entries)
    if seen:
        raise LeakageError(
            f"{datalist}: the student that is shipped has learned from {seen} of the {len(entries)} {split} slices, of "
            "which it can say nothing new. Ask it about other patients, or evaluate a run of your own with --output_dir"
        )


def seen_slices() -> frozenset[str]:
    """First digits of the SHA-256 of every slice that the student was trained or validated on."""
    return frozenset(files("kdmri_monai").joinpath(SLICES).read_text(encoding="ascii").split())


def _is_picture(name: str) -> bool:
    path = Path(name.partition("#")[0] if ".npy#" in name else name)
    if path.is_dir():
        of_a_student = (path / CONFIG).is_file() or any((path / file).is_file() for file in RUN_FILES)
        return not of_a_student and any(path.iterdir())  # an empty folder is more likely a run that was not trained
    return path.is_file() and not zipfile.is_zipfile(path)
