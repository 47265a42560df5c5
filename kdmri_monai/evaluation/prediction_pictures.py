"""What a network says of single pictures, of which nothing but the pixels is known."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from torch import Tensor, nn

from kdmri_monai.data.taxonomy import CLASSES
from kdmri_monai.evaluation.slice_batches import SliceBatch
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
    """One picture as the image store would hold it, and as it came.

    Attributes:
        name: As the user named it.
        pixels: Shape ``(S, S)``, uint8.
        raw: As it came, shape ``(rows, columns)``, any real dtype; ``None`` for a row of a store.
        file: The file; ``None`` where it is what ``name`` says.
        index: Number of the slice in its volume or series; ``None`` for a single picture.
        plane: One of ``taxonomy.PLANES``; ``None`` where it is not known.
    """

    name: str
    pixels: NDArray[np.uint8]
    raw: NDArray[np.generic] | None = None
    file: str | None = None
    index: int | None = None
    plane: str | None = None


@dataclass(frozen=True, eq=False)
class PicturePrediction:
    """What a network says of one picture.

    Attributes:
        picture: The picture.
        probabilities: Shape ``(K,)``, float64.
        geometry: Predicted maps, a batch of one; ``None`` where the network has no geometry head.
        classes: Names of the K classes.
        image: What the network was given, shape ``(1, H, W)``; ``None`` where nobody kept it.
    """

    picture: Picture
    probabilities: NDArray[np.float64]
    geometry: PredictedGeometry | None
    classes: tuple[str, ...] = CLASSES
    image: Tensor | None = None

    @property
    def label(self) -> int:
        """The most probable class."""
        return int(self.probabilities.argmax())

    @property
    def confidence(self) -> float:
        """Probability of the most probable class."""
        return float(self.probabilities.max())

    @property
    def tumour_percent(self) -> float | None:
        """Area of the predicted tumour, % of the picture; ``None`` without a geometry head."""
        if self.geometry is None:
            return None
        return 100 * float((tumour_probability(self.geometry, self.picture.pixels.shape) >= BORDER).mean())

    @property
    def words(self) -> str:
        """Class, its probability and the share of the predicted tumour, for people."""
        said = f"{self.classes[self.label]}, probability {self.confidence:.3f}"
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


def predict_pictures(
    network: nn.Module,
    pictures: Iterator[Picture],
    steps: Any,
    device: torch.device,
    batch_size: int = 32,
    *,
    temperature: float = 1.0,
    classes: Sequence[str] = CLASSES,
    as_it_came: bool = False,
) -> Iterator[PicturePrediction]:
    """What a network says of pictures, from the image alone; a batch of pictures is in memory at a time.

    Args:
        network: On ``device``; of a ``GeometryClassifier`` the predicted maps are kept.
        pictures: Read as they are needed.
        steps: Transforms from ``{"image": (S, S)}``, 0..255, to what the network takes (``image_steps``).
        device: Where the images go.
        batch_size: Pictures at a time.
        temperature: By what logits are divided before softmax.
        classes: Names of the K classes.
        as_it_came: The steps take the pixels as they came, ``(rows, columns)``, instead of the stored ones.

    Raises:
        ValueError: The network wants more than the image, or gives logits of other classes.
    """
    check_takes_image_alone(network)
    while batch := list(islice(pictures, batch_size)):
        given = [one.raw if as_it_came and one.raw is not None else one.pixels for one in batch]
        images = torch.stack([_plain(steps({"image": one.astype(np.float32)})["image"]) for one in given])
        logits, geometry = _answer(network, images.to(device))
        if logits.ndim != 2 or logits.shape[1] != len(classes):
            raise ValueError(f"the network gives {tuple(logits.shape)}, expected are {len(classes)} classes a picture")
        probabilities = (logits.double() / temperature).softmax(dim=1).cpu().numpy()
        for place, picture in enumerate(batch):
            maps = None if geometry is None else geometry[place]
            yield PicturePrediction(picture, probabilities[place], maps, tuple(classes), images[place])


def check_takes_image_alone(network: nn.Module) -> None:
    """Refuses a teacher that is given the tumour mask.

    Raises:
        ValueError: The network wants more than the image.
    """
    if wanted := getattr(network, "privileged_keys", ()):
        raise ValueError(
            f"{type(network).__name__} wants {', '.join(wanted)} beside the image: such a teacher cannot be used on "
            "pictures; give the run of a student"
        )


def unlabelled(images: Tensor) -> SliceBatch:
    """Images ``(B, 1, H, W)`` of which nothing else is known, as examinations read them."""
    count, nobody = len(images), ("",) * len(images)
    none = torch.zeros(count, dtype=torch.bool, device=images.device)
    mask = torch.zeros(count, 1, *images.shape[2:], device=images.device)
    return SliceBatch(images, mask, none, none.long(), nobody, nobody, nobody)


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
