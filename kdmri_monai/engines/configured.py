"""Networks and batches from what a person names: a run, an id of a bundle's configuration, a class."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset
from monai.transforms import (
    CastToTyped,
    Compose,
    EnsureChannelFirstd,
    EnsureTyped,
    LoadImaged,
    Resized,
    ScaleIntensityRanged,
    SelectItemsd,
)
from torch import nn

from kdmri_monai.data.datalist import load_split
from kdmri_monai.data.readers import StoreReader
from kdmri_monai.data.transforms import LoadMaskd
from kdmri_monai.engines.explain import first_cause
from kdmri_monai.engines.run_config import run_config
from kdmri_monai.networks.weights import load_weights

IMAGE_SIZE = 96
"""Rows and columns of an image where neither a person nor a configuration says another number."""

FORMS = "a run folder, FILE.json#id, or a class such as monai.networks.nets.resnet18"
_WRAPPED = (RuntimeError, KeyError, ModuleNotFoundError, ValueError, TypeError)


@dataclass(frozen=True)
class ConfiguredNetwork:
    """A network and where it comes from.

    Attributes:
        network: Built, and filled where there are weights.
        image_shape: Channels and spatial size of one image.
        weights: The file that it was filled from; ``None`` where its weights are random.
        config: The configuration that it was built from; of a class one that holds nothing else.
    """

    network: nn.Module
    image_shape: tuple[int, ...]
    weights: Path | None
    config: ConfigParser


def configured_network(
    source: str,
    arguments: Mapping[str, Any] | None = None,
    image_size: int | None = None,
    image_shape: Sequence[int] | None = None,
    checkpoint: str | PathLike[str] | None = None,
) -> ConfiguredNetwork:
    """Build the network that a person names.

    Args:
        source: A run folder, which gives ``network_def`` with the weights of its ``model.pt``; ``FILE.json#id``, or
            several files joined by commas and laid over each other, of which later ones may lie beside the first; or
            the name of a class or function as ``_target_`` takes it, dotted or one of MONAI's short names.
        arguments: Overrides by id for a configuration, arguments for a class.
        image_size: Rows and columns, pixels; by default ``image_size`` of the configuration, or ``IMAGE_SIZE``.
        image_shape: Channels and spatial size, for images that are not square, volumes, or more than one channel.
        checkpoint: Weights; those of a run folder by default.

    Raises:
        FileNotFoundError: No such file.
        ValueError: None of the three forms, an id that the configuration lacks, arguments that do not fit, or
            something that is no network; ``WeightsError`` for weights that do not fit.
    """
    config, name, own_weights = _located(source, arguments or {})
    checkpoint = own_weights if checkpoint is None else checkpoint
    with _named(source):
        if image_size is not None:
            config["image_size"] = image_size
        size = config.get_parsed_content("image_size") if "image_size" in config else IMAGE_SIZE
        network = config.get_parsed_content(name)
    if not isinstance(network, nn.Module):
        raise ValueError(f"{source} gives {type(network).__name__}, which is no network; a network is {FORMS}")
    weights = None if checkpoint is None else Path(checkpoint)
    if weights is not None:
        load_weights(network, weights)
    return ConfiguredNetwork(network, tuple(image_shape or (1, size, size)), weights, config)


def _located(source: str, arguments: Mapping[str, Any]) -> tuple[ConfigParser, str, Path | None]:
    """The configuration, the id in it, and the weights that belong to it."""
    if Path(source).is_dir():
        config, name, weights = run_config(source), "network_def", Path(source) / "model.pt"
    elif "#" in source:
        (config, name), weights = _bundle_config(source), None
    else:
        return ConfigParser({"network": {"_target_": source, **arguments}}), "network", None
    config.update(dict(arguments))
    return config, name, weights


def _bundle_config(source: str) -> tuple[ConfigParser, str]:
    files, _, name = source.partition("#")
    paths = [Path(file) for file in files.split(",")]
    paths = [path if path.is_file() else paths[0].parent / path for path in paths]
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{source}: there is no file {path}")
    with _named(source):
        config = ConfigParser(ConfigParser.load_config_files([str(path) for path in paths]))
    if name not in config:
        near = difflib.get_close_matches(name, config.get(), n=3) or ["student_def", "teacher_def", "network_def"]
        raise ValueError(f"{source}: the configuration has no id {name!r}; ids of networks are like {', '.join(near)}")
    return config, name


@contextmanager
def _named(source: str) -> Iterator[None]:
    """What goes wrong while a configuration is parsed, which MONAI wraps twice, with its first cause and the source."""
    try:
        yield
    except _WRAPPED as error:
        cause = first_cause(error)
        words = str(cause.args[0]) if isinstance(cause, KeyError) and cause.args else str(cause)
        if isinstance(cause, ModuleNotFoundError):
            words = f"{words.rstrip('.')}; a network is {FORMS}"
        raise ValueError(f"{source}: {' '.join(words.split())}") from error


def device_named(name: str | None) -> torch.device:
    """The device of that name; CUDA where there is one, else the CPU, where no name is given.

    Raises:
        ValueError: No device of that name, or none here.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from error
    return device


def image_steps(config: ConfigParser, image_size: int) -> Compose:
    """What happens to stored pixels before a network sees them, for entries of which only ``image`` is known.

    Args:
        config: Its id ``preprocessing`` gives the steps, of which those that work on ``image`` are taken, but loading;
            without such an id they are those of the shipped bundle.
        image_size: Rows and columns, pixels, of the shipped steps; a configuration says its own.

    Returns:
        From ``{"image": (S, S)}``, 0..255, to ``{"image": (1, H, W)}``.

    Raises:
        ValueError: The configuration's ``preprocessing`` cannot be built.
    """
    if "preprocessing" not in config:
        return Compose(
            [
                EnsureChannelFirstd("image", channel_dim="no_channel"),
                Resized("image", spatial_size=(image_size, image_size), mode="area"),
                ScaleIntensityRanged("image", a_min=0.0, a_max=255.0, b_min=0.0, b_max=1.0, clip=True),
                EnsureTyped("image", dtype=torch.float32, track_meta=False),
            ]
        )
    with _named("preprocessing"):
        whole = config.get_parsed_content("preprocessing").flatten().transforms
    others = (LoadImaged, LoadMaskd, SelectItemsd)
    return Compose(
        [step for step in whole if not isinstance(step, others) and "image" in getattr(step, "keys", ("image",))]
    )


def slice_batches(
    datalist: str | PathLike[str],
    split: str,
    steps: Compose,
    image_size: int,
    slices: int | None = None,
    batch_size: int = 32,
) -> DataLoader:
    """Batches of slices that are spread evenly over one split, with masks, in the order of the datalist.

    Args:
        datalist: ``datalist.json``.
        split: "training", "validation" or "test".
        steps: From ``image_steps``.
        image_size: Rows and columns of the masks, pixels.
        slices: How many; all by default, and where the split has no more.
        batch_size: Slices a batch.

    Returns:
        Batches with ``image`` and ``mask`` ``(B, 1, H, W)``, float32, ``has_mask`` and ``label`` ``(B,)``, and lists
        ``id``, ``patient`` and ``family``.

    Raises:
        ValueError: Fewer than one slice is asked for; or as ``load_split``.
    """
    if slices is not None and slices < 1:
        raise ValueError(f"slices is {slices}, at least 1 is needed")
    entries = load_split(Path(datalist), split)
    wanted = len(entries) if slices is None else min(slices, len(entries))
    places = np.linspace(0, len(entries) - 1, wanted).round().astype(int)
    load = [
        LoadImaged("image", reader=StoreReader, image_only=True),
        *steps.transforms,
        LoadMaskd("mask", (image_size, image_size)),
        CastToTyped("mask", dtype=torch.float32),
        SelectItemsd(["image", "label", "mask", "has_mask", "id", "patient", "family"]),
    ]
    return DataLoader(Dataset([entries[place] for place in places], Compose(load)), batch_size=batch_size)
