"""Synthetic slices by which a laboratory sees that a bundle answers as it did where it was packed."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from kdmri_monai.data.phantom.cohort import patient, slice_sources
from kdmri_monai.data.phantom.slices import phantom_slice
from kdmri_monai.data.pixels import store_image
from kdmri_monai.data.taxonomy import PLANES

FOLDER = "smoke"
COUNT, SEED = 6, 2024
SIZES = (512, 256)
"""Sides in turn, pixels."""
DEEP = 3
"""Every so many slices, one is written with 16 bits."""


def smoke_slices() -> dict[str, NDArray[np.uint8] | NDArray[np.uint16]]:
    """Phantom slices by file name, every class and plane among them, of 8 and of 16 bits.

    Returns:
        Upright pixels, squares of the sides ``SIZES``.
    """
    return {f"phantom_{number}.png": _slice(number) for number in range(COUNT)}


def smoke_labels() -> dict[str, int]:
    """Class of every phantom slice by file name."""
    return {f"phantom_{number}.png": patient(number).label for number in range(COUNT)}


def smoke_images(steps: Callable[[dict[str, Any]], Any], store_size: int) -> Tensor:
    """The slices as a network takes them.

    Args:
        steps: From ``{"image": (S, S)}``, 0..255, to the network's image.
        store_size: Side ``S`` of a prepared image, pixels.

    Returns:
        Shape ``(COUNT, 1, H, W)``.
    """
    stored = [store_image(pixels, store_size, name, "pixels") for name, pixels in smoke_slices().items()]
    return torch.stack([torch.as_tensor(steps({"image": one.astype(np.float32)})["image"]) for one in stored])


def smoke_files(probabilities: Tensor, classes: Sequence[str], labelled: bool = True) -> dict[str, bytes]:
    """Pictures, a list of them with labels, and what the network said of them.

    Args:
        probabilities: Of ``smoke_images``, shape ``(COUNT, K)``.
        classes: Names of the K classes.
        labelled: Whether the classes are those of the phantoms, so that labels mean something.

    Returns:
        Content by path inside the bundle: ``smoke/*.png``, ``smoke/expected.csv`` (file name and K probabilities) and,
        where labelled, ``smoke/datalist.json``.
    """
    pictures = smoke_slices()
    rows = [["file", *classes]]
    rows += [[name, *map(repr, row)] for name, row in zip(pictures, probabilities.tolist(), strict=True)]
    files = {name: png_bytes(pixels) for name, pixels in pictures.items()}
    files["expected.csv"] = "".join(f"{','.join(row)}\n" for row in rows).encode()
    if labelled:
        files["datalist.json"] = _datalist(smoke_labels(), classes)
    return {f"{FOLDER}/{name}": content for name, content in files.items()}


def png_bytes(pixels: NDArray[np.generic]) -> bytes:
    """A grey PNG of 8 or 16 bits."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _slice(number: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    who, plane, size = patient(number), PLANES[number % len(PLANES)], SIZES[number % len(SIZES)]
    image = phantom_slice(plane, who.label, slice_sources(SEED, who, plane, 0), size, scanner=who.scanner).image
    grey = np.clip(image, 0, None).astype(np.int64)
    if number % DEEP == DEEP - 1:
        return grey.astype(np.uint16)
    return (grey * 255 // grey.max()).astype(np.uint8)


def _datalist(labels: Mapping[str, int], classes: Sequence[str]) -> bytes:
    tree = {
        "name": "phantom slices",
        "licence": "CC0",
        "numClasses": len(classes),
        "classes": list(classes),
        "numTest": len(labels),
        "test": [{"image": name, "label": label} for name, label in labels.items()],
    }
    return (json.dumps(tree, indent=1) + "\n").encode()
