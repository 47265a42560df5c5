"""Two classes that differ in nothing but the outline of the tumour.

A slice shows a head, a bright tumour and, as a distractor, a dark cyst. The tumour of one class has a smooth outline,
that of the other a lobed one; the outline of the cyst is smooth or lobed by the toss of a coin, so that lobes somewhere
in the slice tell nothing. All else is drawn without regard to the class: head, place, area (to the pixel), elongation,
texture, noise. In the end the pixels of every slice, in the order of their brightness, are given the grey values of one
reference slice, so that all slices have the same histogram.

Source of the last step: Coltuc, Bolon and Chassery, "Exact histogram specification", IEEE Transactions on Image
Processing 2006. Differs: equal pixels are ordered by chance.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kdmri_monai.data.atomic import write_atomically
from kdmri_monai.data.phantom.anatomy import Head, draw_head
from kdmri_monai.data.phantom.body import Pose
from kdmri_monai.data.phantom.cohort import generator
from kdmri_monai.data.phantom.noise import field, grid, heights
from kdmri_monai.data.phantom.scanner import A, acquire
from kdmri_monai.data.phantom.shapes import Array
from kdmri_monai.data.phantom.slices import SIZES, Sources
from kdmri_monai.data.taxonomy import CLASSES, PLANES

SMOOTH, LOBED = 0, 1
"""The two classes; they bear the names of the first two of the taxonomy."""
AMPLITUDE = 0.25
RADII = (0.19, 0.27)
TUMOUR, CYST = 0.72, 0.17
TABLE = "labels.csv"
_ORDERS = range(5, 9)
_LOBE_HEIGHTS = (1.0, 0.35, 0.2, 0.2)  # one of the orders stands out
ZOOM = 1.1
_PERSON, _CASE, _LOOK, _POSE, _SCAN, _LEVELS = range(6)


@dataclass(frozen=True)
class _Blob:
    """One tumour or cyst: ``centre`` (x, y) and ``radius`` of the circle of its area, half fields of view."""

    centre: NDArray[np.float64]
    radius: float
    stretch: float
    turn: float
    lobes: NDArray[np.float64]


def geometry_pair_slice(
    sources: Sources | np.random.Generator,
    label: int,
    size: int = 128,
    amplitude: float = AMPLITUDE,
    plane: str = "axial",
    level: float = 0.0,
    part: float = 1.0,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """One slice and its tumour; the same sources with the other label give its twin.

    Args:
        sources: Generators, or one that gives all of them.
        label: ``SMOOTH`` or ``LOBED``.
        size: Rows and columns, pixels, 64..1024.
        amplitude: Height of the lobes, share of the radius, 0..0.4; the smaller, the harder to tell. With 0 there is no
            difference between the classes.
        plane: One of ``taxonomy.PLANES``.
        level: Place of the slice, -1..1.
        part: Size of tumour and cyst relative to their largest cross-section, 0.5..1.

    Returns:
        Image, shape ``(S, S)``, with the same grey values in every slice of this size, and mask, shape ``(S, S)``, in
        one piece.

    Raises:
        ValueError: A value that is not allowed.
    """
    _check(label, size, amplitude, part)
    if isinstance(sources, np.random.Generator):
        sources = Sources(*sources.spawn(5))
    turn, shift = sources.pose.normal(0, 0.07), sources.pose.normal(0, 0.02, 2)
    head = draw_head(plane, sources.person, size, level, Pose(turn, ZOOM, (float(shift[0]), float(shift[1]))))
    tumour, cyst = _blobs(head, sources.case, part)
    lobed_cyst = bool(sources.case.integers(2))
    signal = head.signal.copy()
    _paint(signal, _inside(cyst, size, amplitude * lobed_cyst), CYST, sources.look)
    inside = _inside(tumour, size, amplitude * (label == LOBED))
    _paint(signal, inside, TUMOUR, sources.look)
    scanned = acquire(signal, sources.scan, A)
    order = np.lexsort((sources.scan.random(scanned.size), scanned.ravel()))
    image = np.empty(scanned.size, np.uint8)
    image[order] = reference_greys(size)
    return image.reshape(size, size), inside > 0


@lru_cache(maxsize=4)
def reference_greys(size: int) -> NDArray[np.uint8]:
    """Grey values of every slice of a size, ascending, shape ``(S * S,)``: those of one healthy head."""
    healthy = draw_head("axial", np.random.default_rng(0), size).signal
    greys = np.sort(acquire(healthy, np.random.default_rng(0), A).ravel()).astype(np.float64)
    low, high = np.percentile(greys, (0.5, 99.5))
    values: NDArray[np.uint8] = np.rint(np.clip((greys - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    values.flags.writeable = False
    return values


def write_geometry_pairs(
    folder: Path,
    patients: int = 40,
    slices_per_patient: int = 4,
    size: int = 128,
    seed: int = 0,
    amplitude: float = AMPLITUDE,
) -> Path:
    """Write a set that ``kdmri prepare`` reads: PNG pictures, PNG masks, and a table.

    The slices of a patient share the person, tumour and cyst, at different levels and in slightly different positions.

    Args:
        folder: Folder, made where it is missing.
        patients: Patients, each a family of its own, the two classes in turn; planes change from pair to pair.
        slices_per_patient: Slices of each.
        size: Rows and columns, pixels.
        seed: Same seed, same files; patient k is the same for every number of patients above k.
        amplitude: As for ``geometry_pair_slice``.

    Returns:
        The table.

    Raises:
        ValueError: A value that is not allowed.
        FileExistsError: The folder holds something already.
    """
    if patients < 2 or slices_per_patient < 1 or seed < 0:
        raise ValueError(
            f"patients is {patients}, slices_per_patient {slices_per_patient}, seed {seed}; "
            "allowed are 2, 1 and 0 and above"
        )
    _check(SMOOTH, size, amplitude, 1.0)
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} holds something already; choose an empty folder")
    rows = []
    for number in range(patients):
        name, plane = f"GP{number:05d}", PLANES[number // 2 % len(PLANES)]
        for index, (image, mask) in enumerate(_patient(number, seed, slices_per_patient, size, amplitude, plane)):
            files = f"images/{name}_{index:02d}.png", f"masks/{name}_{index:02d}.png"
            for file, picture in zip(files, (image, 255 * mask.astype(np.uint8)), strict=True):
                write_atomically(folder / file, _png(picture))
            rows.append((files[0], CLASSES[number % 2], name, files[1], plane))
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([("path", "label", "patient", "mask", "plane"), *rows])
    write_atomically(folder / TABLE, text.getvalue().encode())
    return folder / TABLE


def _patient(
    number: int, seed: int, slices: int, size: int, amplitude: float, plane: str
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    draw = generator(seed, number, _LEVELS)
    levels, parts = np.sort(draw.uniform(-0.9, 0.9, slices)), draw.uniform(0.85, 1.0, slices)
    for index, (level, part) in enumerate(zip(levels.tolist(), parts.tolist(), strict=True)):
        shared = (generator(seed, number, purpose) for purpose in (_PERSON, _CASE, _LOOK))
        own = (generator(seed, number, purpose, index) for purpose in (_POSE, _SCAN))
        yield geometry_pair_slice(Sources(*shared, *own), number % 2, size, amplitude, plane, level, part)


def _check(label: int, size: int, amplitude: float, part: float) -> None:
    if label not in (SMOOTH, LOBED):
        raise ValueError(f"label is {label}, allowed are {SMOOTH} (smooth) and {LOBED} (lobed)")
    if not SIZES[0] <= size <= SIZES[1]:
        raise ValueError(f"size is {size}, allowed are {SIZES[0]}..{SIZES[1]} pixels")
    if not 0 <= amplitude <= 0.4:
        raise ValueError(f"amplitude is {amplitude}, allowed are 0..0.4")
    if not 0.5 <= part <= 1:
        raise ValueError(f"part is {part}, allowed are 0.5..1")


def _blobs(head: Head, case: np.random.Generator, part: float) -> tuple[_Blob, _Blob]:
    """Tumour and cyst, drawn alike, in the brain and off each other as far as there is room."""
    blobs: list[_Blob] = []
    depth = np.linalg.norm(head.lobes[:, None] - head.dura[None], axis=2).min(axis=1)
    for _ in range(2):
        radius, stretch, turn = case.uniform(*RADII), case.uniform(1.0, 1.3), case.uniform(0, np.pi)
        lobes, starts = case.permutation(_LOBE_HEIGHTS), case.uniform(0, 2 * np.pi, len(_ORDERS))
        gap = depth - radius
        for other in blobs:
            gap = np.minimum(gap, np.linalg.norm(head.lobes - other.centre, axis=1) - radius - other.radius)
        order = case.permutation(len(gap))
        fits = order[gap[order] > 0.08]
        centre = head.lobes[fits[0] if len(fits) else int(np.argmax(gap))]
        blobs.append(_Blob(centre, radius * part, stretch, turn, np.stack([lobes, starts])))
    return blobs[0], blobs[1]


def _inside(blob: _Blob, size: int, amplitude: float) -> Array:
    """About the signed distance to the outline in pixels, positive on exactly the pixels of the circle's area."""
    x, y = grid(size)
    x, y = x - np.float32(blob.centre[0]), y - np.float32(blob.centre[1])
    cos, sin = np.cos(blob.turn), np.sin(blob.turn)
    u, v = (x * cos + y * sin) / np.sqrt(blob.stretch), (y * cos - x * sin) * np.sqrt(blob.stretch)
    angle, around = np.arctan2(v, u), np.linspace(0, 2 * np.pi, 720)
    weights, starts = blob.lobes
    waves, all_round = (
        sum(weight * np.cos(order * a + start) for order, weight, start in zip(_ORDERS, weights, starts, strict=True))
        for a in (angle, around)
    )
    outline = 1 + amplitude * waves / np.abs(all_round).max()
    inside = (blob.radius * outline - np.hypot(u, v)) * (size / 2)
    pixels = max(1, round(np.pi * (blob.radius * size / 2) ** 2))
    ranked = np.partition(inside.ravel(), (inside.size - pixels - 1, inside.size - pixels))
    last_out, last_in = ranked[inside.size - pixels - 1], ranked[inside.size - pixels]
    return np.asarray(inside - (last_out + last_in) / 2, np.float32)


def _paint(signal: Array, inside: Array, brightness: float, look: np.random.Generator) -> None:
    """Lay a mottled blob over the signal, in place; its edge is a pixel and a half wide."""
    size = len(signal)
    texture = brightness * (1 + look.uniform(-0.08, 0.08) + 0.08 * field(heights(look, 34), size))
    signal += np.clip(inside / 1.5 + 0.5, 0, 1) * (texture - signal)


def _png(picture: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()
