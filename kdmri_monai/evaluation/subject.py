"""What an examination is made of: a trained network, the slices that it is asked about, and where both come from."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kdmri_monai.data.datalist import class_names, read_datalist
from kdmri_monai.data.taxonomy import CLASSES
from kdmri_monai.engines.configured import ConfiguredNetwork, configured_network, image_steps, slice_batches
from kdmri_monai.engines.run_record import FILE
from kdmri_monai.evaluation.slice_batches import Batches, given_masks
from kdmri_monai.networks.tap_modules import find_modules
from kdmri_monai.networks.tap_spec import TapSpec, as_tap


@dataclass(frozen=True, eq=False)
class Subject:
    """A network and its slices.

    Attributes:
        network: On ``device``; what it wants beside the image must be fields of ``SliceBatch``.
        batches: Split to batches, see ``slice_batches.Batches``.
        device: Where to compute.
        image_shape: Channels, rows and columns of one image.
        checkpoint: File of the weights; ``None`` for a network that was not loaded.
        datalist: The data; ``None`` where the batches come from elsewhere.
        cam_layer: Layer that Grad-CAM reads; chosen by rule where it is ``None``.
        classes: Names of the K classes.
    """

    network: nn.Module
    batches: Batches
    device: torch.device
    image_shape: tuple[int, ...]
    checkpoint: Path | None = None
    datalist: Path | None = None
    cam_layer: TapSpec | None = None
    classes: tuple[str, ...] = CLASSES

    @property
    def sees_mask(self) -> bool:
        """Whether the network is given the tumour mask, so that its numbers are those of no deployable network."""
        return given_masks(self.network)

    def provenance(self) -> dict[str, str | None]:
        """Files that the numbers come from, with their SHA-256."""
        files = {"checkpoint": self.checkpoint, "datalist": self.datalist}
        named = {name: None if path is None else str(path) for name, path in files.items()}
        digests = {f"{name}_sha256": None if path is None else file_digest(path) for name, path in files.items()}
        return {**named, **digests, "device": str(self.device)}


def open_run(
    folder: str | PathLike[str],
    device: torch.device,
    dataset_dir: str | PathLike[str] | None = None,
    batch_size: int = 32,
) -> Subject:
    """The network of a finished run with the data that it was trained on.

    The configuration of the run is parsed, which runs code that it names: open runs that you trust.

    Args:
        folder: Folder that ``python -m monai.bundle run training`` left.
        device: Where to compute.
        dataset_dir: Dataset folder, where it has moved since.
        batch_size: Slices a batch.

    Raises:
        FileNotFoundError: No run, no weights, or no datalist.
        ValueError: The datalist is not the one that ``run.json`` records; weights that do not fit.
    """
    folder = Path(folder)
    run = configured_network(str(folder))
    if dataset_dir is not None:
        run.config["dataset_dir"] = str(dataset_dir)
    datalist = Path(run.config.get_parsed_content("datalist"))
    _check_recorded(folder, datalist)
    steps, size = image_steps(run.config, run.image_shape[-1]), run.image_shape[-1]

    def batches(split: str) -> Iterable[Mapping[str, Any]]:
        return slice_batches(datalist, split, steps, size, batch_size=batch_size)

    return Subject(
        network=run.network.to(device),
        batches=batches,
        device=device,
        image_shape=run.image_shape,
        checkpoint=run.weights,
        datalist=datalist,
        cam_layer=_configured_layer(run),
        classes=class_names(read_datalist(datalist)),
    )


def _configured_layer(run: ConfiguredNetwork) -> TapSpec | None:
    """``cam_layer`` of the configuration where it names a module of this network: a teacher has other names."""
    layer: TapSpec | None = run.config.get_parsed_content("cam_layer") if "cam_layer" in run.config else None
    if layer is None:
        return None
    try:
        find_modules(run.network, as_tap(layer).module)
    except ValueError:
        return None
    return layer


def _check_recorded(folder: Path, datalist: Path) -> None:
    """Refuses a datalist other than the one that the run was trained with: its test slices may have been seen."""
    if not datalist.is_file():
        raise FileNotFoundError(f"{folder}: there is no {datalist}; say where the dataset folder is now")
    recorded = json.loads((folder / FILE).read_text(encoding="utf-8")).get("data", {}).get("sha256")
    if recorded is not None and recorded != file_digest(datalist):
        raise ValueError(
            f"{datalist} is not the datalist that the run in {folder} was trained with (its SHA-256 differs from "
            f"data.sha256 in {FILE}): its test slices may be among those that were learned from"
        )


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
