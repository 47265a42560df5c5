"""What a network says of single pictures, of which nothing but the pixels is known."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from torch import Tensor, nn

from kdmri_monai.data.cjdata import IMAGE
from kdmri_monai.data.datalist import load_split
from kdmri_monai.data.hdf5 import open_group, open_hdf5, read_dataset
from kdmri_monai.data.limits import ReadLimits
from kdmri_monai.data.pixels import check_image, store_image
from kdmri_monai.data.source_mat import read_file
from kdmri_monai.data.source_pictures import SUFFIXES, read_picture
from kdmri_monai.data.store import open_store, split_reference
from kdmri_monai.data.taxonomy import CLASSES
from kdmri_monai.networks.dry_run import evaluating
from kdmri_monai.networks.geometry_classifier import GeometryClassifier
from kdmri_monai.networks.geometry_head import PredictedGeometry, predicted_geometry
from kdmri_monai.networks.resampling import match_size
from kdmri_monai.networks.taps import FeatureTaps

GEOMETRY = "head.maps"
BORDER = 0.5
"""Probability from which a pixel counts as tumour."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture as the image store would hold it.

    Attributes:
        name: As the user named it.
        pixels: Shape ``(S, S)``, uint8.
    """

    name: str
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class PicturePrediction:
    """What a network says of one picture.

    Attributes:
        picture: The picture.
        probabilities: Shape ``(K,)``, float64.
        geometry: Predicted maps, a batch of one; ``None`` where the network has no geometry head.
    """

    picture: Picture
    probabilities: NDArray[np.float64]
    geometry: PredictedGeometry | None

    @property
    def label(self) -> int:
        """The most probable class."""
        return int(self.probabilities.argmax())

    @property
    def tumour_percent(self) -> float | None:
        """Area of the predicted tumour, % of the picture; ``None`` without a geometry head."""
        if self.geometry is None:
            return None
        return 100 * float((tumour_probability(self.geometry, self.picture.pixels.shape) >= BORDER).mean())

    @property
    def words(self) -> str:
        """Class, its probability and the share of the predicted tumour, for people."""
        said = f"{CLASSES[self.label]}, probability {self.probabilities[self.label]:.3f}"
        percent = self.tumour_percent
        return said if percent is None else f"{said}; predicted tumour {percent:.1f} % of the image"


def tumour_probability(geometry: PredictedGeometry, size: Sequence[int]) -> NDArray[np.float32]:
    """Predicted tumour at the size of an image, bilinear between the centres of the map's cells.

    Args:
        geometry: Maps of one image, ``(1, 1, h, w)``.
        size: Rows and columns of the image.

    Returns:
        Probabilities, shape ``size``.
    """
    return match_size(geometry.mask.detach().float(), size)[0, 0].cpu().numpy()


def listed_pictures(names: Sequence[str]) -> list[str]:
    """The names with every dataset folder replaced by references to the images of its test split.

    Raises:
        FileNotFoundError: A folder without a datalist.
        ValueError: A datalist that leaks, is of another form, or has no test split.
    """
    return [
        name
        for given in names
        for name in (
            [entry["image"] for entry in load_split(Path(given) / "datalist.json", "test")]
            if Path(given).is_dir()
            else [given]
        )
    ]


def read_stored(name: str, size: int) -> Picture:
    """One picture, normalised as ``kdmri prepare`` does; a row of a store is taken as it is.

    Args:
        name: PNG, JPEG, a ``.mat`` file of the Figshare set, of which the image alone is read, or ``images.npy#17``.
        size: Side ``S`` of the stored image, pixels.

    Raises:
        BadSliceError: The file cannot be used; file and field are named.
        FileNotFoundError: There is no such store.
        ValueError: Another kind of file, or a row that the store does not have.
    """
    if ".npy#" in name:
        path, row = split_reference(name)
        store = open_store(path)
        if row >= len(store):
            raise ValueError(f"{path} has {len(store)} rows, counted from 0; asked for is row {row}")
        return Picture(name, np.array(store[row]))
    suffix, limits = Path(name).suffix.lower(), ReadLimits()
    if suffix == ".mat":
        field, image = IMAGE, _cjdata_image(Path(name), limits)
    elif suffix in SUFFIXES:
        field, image = "pixels", read_picture(Path(name), name, "pixels", limits)
    else:
        allowed = ", ".join([*SUFFIXES, ".mat"])
        raise ValueError(f"{name} is no picture: {allowed}, images.npy#ROW or a dataset folder is expected")
    check_image(image, name, field, limits)
    return Picture(name, store_image(image, size, name, field))


def _cjdata_image(path: Path, limits: ReadLimits) -> NDArray[np.generic]:
    """The image of a ``cjdata`` file, upright; its label is not looked at."""
    with open_hdf5(read_file(path, str(path), limits.member_bytes), str(path)) as file:
        return read_dataset(open_group(file, str(path), "cjdata"), IMAGE, str(path), limits.side**2).T


def predict_pictures(
    network: nn.Module, pictures: Iterator[Picture], steps: Any, device: torch.device, batch_size: int = 32
) -> Iterator[PicturePrediction]:
    """What a network says of pictures, from the image alone.

    Args:
        network: On ``device``; of a ``GeometryClassifier`` the predicted maps are kept.
        pictures: Read as they are needed.
        steps: Transforms from ``{"image": (S, S)}``, 0..255, to what the network takes (``image_steps``).
        device: Where the images go.
        batch_size: Pictures at a time.

    Raises:
        ValueError: The network wants more than the image, or gives logits of other classes.
    """
    if wanted := getattr(network, "privileged_keys", ()):
        raise ValueError(
            f"{type(network).__name__} wants {', '.join(wanted)} beside the image: such a teacher cannot be used on "
            "pictures; give the run of a student"
        )
    while batch := list(islice(pictures, batch_size)):
        images = torch.stack([_plain(steps({"image": one.pixels.astype(np.float32)})["image"]) for one in batch])
        logits, geometry = _answer(network, images.to(device))
        if logits.ndim != 2 or logits.shape[1] != len(CLASSES):
            raise ValueError(f"the network gives {tuple(logits.shape)}, expected are {len(CLASSES)} classes a picture")
        probabilities = logits.double().softmax(dim=1).cpu().numpy()
        for place, picture in enumerate(batch):
            yield PicturePrediction(picture, probabilities[place], None if geometry is None else geometry[place])


@torch.no_grad()
def _answer(network: nn.Module, images: Tensor) -> tuple[Tensor, list[PredictedGeometry] | None]:
    """Logits, and predicted maps image by image, of one forward pass."""
    with evaluating(network):
        if not sees_geometry(network):
            return network(images), None
        with FeatureTaps(network, [GEOMETRY]).collect() as maps:
            logits = network(images)
    return logits, [predicted_geometry(one) for one in maps[0].cpu().split(1)]


def sees_geometry(network: nn.Module) -> bool:
    """Whether a network is a student with a geometry head."""
    return isinstance(network, GeometryClassifier) and network.head is not None


def _plain(value: Tensor) -> Tensor:
    return value.as_tensor() if isinstance(value, MetaTensor) else value
