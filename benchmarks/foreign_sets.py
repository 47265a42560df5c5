"""Pictures that a student of brain tumours should not decide on, and slices of patients, unchanged and changed."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import skimage
import torch
from numpy.typing import NDArray
from PIL import Image

from kdmri_monai.data.datalist import load_split
from kdmri_monai.data.phantom.scanner import A, B, Scanner
from kdmri_monai.data.phantom.slices import phantom_slice
from kdmri_monai.data.store import open_store, split_reference
from kdmri_monai.data.taxonomy import PLANES
from kdmri_monai.evaluation.erasure import erase

Pixels = NDArray[np.generic]
Named = tuple[str, Pixels]
"""What is independent of the others (patient family, phantom, photograph), and a picture."""

PHOTOGRAPHS = (
    *("astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png", "clock_motion.png", "coffee.png"),
    *("coins.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "microaneurysms.png", "moon.png"),
    *("motorcycle_left.png", "retina.jpg", "rocket.jpg", "page.png"),
)
"""In the package itself: nothing is downloaded. Even places are for the choice of the score, odd ones for the rates."""
SIDE, CROPS, MARGIN = 256, 5, 5


def noise(kind: str, count: int, random: np.random.Generator) -> Iterator[Named]:
    """Square pictures of nothing."""
    for number in range(count):
        size = (SIDE, SIDE)
        if kind == "uniform":
            picture = random.uniform(0, 1, size)
        elif kind == "Gaussian":
            picture = random.normal(100, 30, size)
        else:
            picture = np.hypot(random.normal(0, 1, size), random.normal(0, 1, size))
        yield f"{kind} {number}", picture


def photographs(parity: int, random: np.random.Generator) -> Iterator[Named]:
    """Every second photograph as it is and as square crops of random size and place."""
    for name in PHOTOGRAPHS[parity::2]:
        path = Path(skimage.__file__).parent / "data" / name
        whole = np.asarray(Image.open(path).convert("L"))
        yield name, whole
        for _ in range(CROPS):
            side = int(random.integers(min(whole.shape) // 3, min(whole.shape)))
            row, column = (int(random.integers(0, size - side + 1)) for size in whole.shape)
            yield name, whole[row : row + side, column : column + side]


def phantoms(scanner: Scanner, lesion: bool, count: int, seed: int) -> Iterator[Named]:
    """Phantoms of all planes, and of all classes where there is a lesion."""
    for number in range(count):
        label = (number // len(PLANES)) % 3 if lesion else None
        random = np.random.default_rng([seed, number])
        made = phantom_slice(PLANES[number % len(PLANES)], label, random, SIDE, scanner=scanner)
        yield f"phantom {number}", made.image


def slices(datalist: Path, split: str) -> Iterator[tuple[Named, Pixels | None, int]]:
    """Stored slices with their family, the mask of the tumour, and the class."""
    for entry in load_split(datalist, split):
        path, row = split_reference(entry["image"])
        mask = None
        if entry.get("mask") is not None:
            mask_path, mask_row = split_reference(entry["mask"])
            mask = np.asarray(open_store(mask_path)[mask_row])
        yield (entry["family"], np.asarray(open_store(path)[row])), mask, entry["label"]


def cropped(image: Pixels, place: float) -> Pixels:
    """A quarter of the area: the corner for 0, the middle for .5."""
    start, side = round(place * len(image) / 2), len(image) // 2
    return image[start : start + side, start : start + side]


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "mirrored left to right": np.fliplr,
    "rotated by 90 degrees": np.rot90,
    "rotated by 180 degrees": lambda image: np.rot90(image, 2),
    "upside down": np.flipud,
    "inverted": lambda image: 255 - image,
    "cropped to the upper left quarter": lambda image: cropped(image, 0.0),
    "cropped to the middle quarter": lambda image: cropped(image, 0.5),
    "gamma 3": lambda image: (image / 255.0) ** 3,
    "gamma 1/3": lambda image: (image / 255.0) ** (1 / 3),
    "saturated from the median of the scale on": lambda image: np.minimum(image.astype(int) * 2, 255),
    "on a grey ground": lambda image: np.maximum(image, 80),
}


def changed(named: Iterable[Named], change: Callable[[Pixels], Pixels]) -> Iterator[Named]:
    """The same slices, each changed."""
    for family, image in named:
        yield family, change(image)


def without_tumour(pairs: Iterable[tuple[Named, Pixels | None]]) -> Iterator[Named]:
    """Slices whose tumour, and a margin, is filled from what is around it."""
    for (family, image), mask in pairs:
        if mask is not None and mask.any():
            given = torch.from_numpy(image.astype(np.float32))[None, None] / 255
            hole = torch.from_numpy(np.asarray(mask, dtype=np.float32))[None, None]
            yield family, np.rint(erase(given, hole, "inpaint", MARGIN)[0, 0].numpy() * 255).astype(np.uint8)


def foreign(count: int, seed: int, parity: int) -> dict[str, Iterator[Named]]:
    """Pictures that come from no patient, by name."""
    random = np.random.default_rng(seed)
    return {
        **{f"{kind} noise": noise(kind, count, random) for kind in ("Gaussian", "Rician", "uniform")},
        "photographs": photographs(parity, random),
        **{
            f"phantoms {'with' if lesion else 'without'} a lesion, scanner {name}": phantoms(
                scanner, lesion, count, seed
            )
            for name, scanner in (("A", A), ("B", B))
            for lesion in (False, True)
        },
    }
