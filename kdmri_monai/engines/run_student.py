"""The student that a run trained, whatever it is, for pictures that are not of its dataset."""

import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from torch import nn

from kdmri_monai.data.json_object import read_json_object
from kdmri_monai.data.taxonomy import CLASSES
from kdmri_monai.engines.configured import IMAGE_SIZE
from kdmri_monai.engines.run_config import CONFIG, run_config
from kdmri_monai.engines.run_record import FILE

STORE_SIZE = 256
"""Side of the stored images, pixels, where no dataset says another: that of ``kdmri prepare``."""
_TABLES = ("test_predictions.csv", "validation_predictions.csv")


@dataclass(frozen=True)
class RunStudent:
    """A student as its run configured it; its weights are not loaded.

    Attributes:
        network: Gives logits ``(B, K)``.
        config: The configuration that it was built from.
        image_size: Rows and columns of an image, pixels.
        store_size: Side of the stored images that it learned from, pixels.
        classes: Names of the K classes.
        origin: The configuration, for people.
    """

    network: nn.Module
    config: ConfigParser
    image_size: int
    store_size: int
    classes: tuple[str, ...]
    origin: str

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels and size of one image."""
        return 1, self.image_size, self.image_size


def run_student(
    folder: str | PathLike[str],
    otherwise: str | Sequence[str],
    image_size: int | None = None,
    store_size: int | None = None,
    classes: Sequence[str] | None = None,
) -> RunStudent:
    """The student of a run folder; that of configuration files where the folder holds no configuration.

    A run of ``python -m monai.bundle run`` leaves its configuration in its folder; parsing it runs code that it names,
    so open runs that you trust. Image size, store size and classes are read from the record of the run,
    its tables of predictions and its datalist, where they are.

    Args:
        folder: Folder of a run.
        otherwise: ``train.json``, or it and overlays, laid over each other.
        image_size: Rows and columns, pixels, where they are not to be those of the run.
        store_size: Side of the stored images, pixels, likewise.
        classes: Names, likewise.

    Raises:
        FileNotFoundError: A configuration file is missing.
        ValueError: The run's files are of another form; the network is none.
    """
    folder = Path(folder)
    record = _record(folder)
    if (folder / CONFIG).is_file() and record:
        config, origin = run_config(folder), str(folder / CONFIG)
    else:
        files = [otherwise] if isinstance(otherwise, str) else list(otherwise)
        config, origin = ConfigParser(ConfigParser.load_config_files(files)), ", ".join(files)
    size = image_size or record.get("settings", {}).get("image_size") or config.get("image_size", IMAGE_SIZE)
    config["image_size"] = size
    network = config.get_parsed_content("network_def")
    if not isinstance(network, nn.Module):
        raise ValueError(f"network_def of {origin} gives {type(network).__name__}, which is no network")
    data, recorded = _datalist(record), (record.get("data") or {}).get("classes")
    return RunStudent(
        network=network,
        config=config,
        image_size=int(size),
        store_size=int(store_size or data.get("preparation", {}).get("store_size") or STORE_SIZE),
        classes=tuple(classes or recorded or data.get("classes") or _table_classes(folder) or CLASSES),
        origin=origin,
    )


def _record(folder: Path) -> dict[str, Any]:
    file = folder / FILE
    if not file.is_file():
        return {}
    content = read_json_object(file)
    if not isinstance(content.get("settings", {}), dict):
        raise ValueError(f"{file} is not the record of a run")
    return content


def _datalist(record: dict[str, Any]) -> dict[str, Any]:
    """The datalist of a run where it is still as it was, else nothing."""
    data = record.get("data") or {}
    path = Path(str(data.get("datalist", "")))
    if not path.is_file():
        return {}
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != data.get("sha256"):
        return {}
    found: dict[str, Any] = json.loads(content)
    return found


def _table_classes(folder: Path) -> tuple[str, ...]:
    """Classes as the columns of a run's predictions name them, none where it has not been evaluated."""
    for name in _TABLES:
        if (folder / name).is_file():
            with (folder / name).open(encoding="utf-8", newline="") as file:
                header = next(csv.reader(file), [])
            return tuple(column[2:].replace("_", " ") for column in header if column.startswith("p_"))
    return ()
