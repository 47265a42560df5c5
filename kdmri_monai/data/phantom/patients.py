"""Phantom patients: synthetic head slices in three planes, written as the Figshare set is published.

Every slice belongs to no person and is free to use. What is kept from the real set: three classes told apart by
geometry, several near-equal slices a patient, numeric and ``MR...`` ids, patients scanned twice (ids that differ in a
trailing letter), another range of numbers on every slice. With the shortcut off, scanner, id kind, plane and anatomy
are drawn without regard to the class; what still tells it with the tumour erased is the shape of the hole itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from skimage.measure import find_contours
from tqdm import tqdm

from kdmri_monai.data.phantom.anatomy import Plane, draw_head
from kdmri_monai.data.phantom.archives import write_figshare
from kdmri_monai.data.phantom.scanner import MARKED, USUAL, acquire
from kdmri_monai.data.phantom.shapes import square_grid
from kdmri_monai.data.phantom.tumours import GLIOMA, add_lesion
from kdmri_monai.data.records import RawSlice
from kdmri_monai.data.taxonomy import CLASSES, PLANES

RESCANNED = {5: 2, 12: 9, 19: 16}
"""In every 24 ids three are second scans of an earlier person, one of each class."""
_NOTE = "Synthetic head slices of kdmri_monai (phantoms, seed {seed}); no patient data. CC0 1.0.\n"


@dataclass(frozen=True)
class PhantomSummary:
    """What was written: ``slices`` slices of ``patients`` patient ids into the archives ``files``."""

    slices: int
    patients: int
    files: tuple[Path, ...]


def write_phantoms(
    out: Path,
    patients: int = 24,
    seed: int = 0,
    shortcut: bool = False,
    slices_per_patient: tuple[int, int] = (5, 9),
    size: int = 256,
    progress: bool = True,
) -> PhantomSummary:
    """Write phantom patients as four archives of MATLAB v7.3 files and ``cvind.mat``.

    Args:
        out: Folder, made where it is missing.
        patients: Patient ids, classes in turn; second scans count as ids of their own.
        seed: Same seed, same files; patient k is the same for every number of patients above k.
        shortcut: Give most gliomas to a scanner and an id kind of their own.
        slices_per_patient: Fewest and most slices of an id.
        size: Rows and columns, pixels.
        progress: Show a progress bar.

    Raises:
        ValueError: Fewer than 3 patients, a size outside 64..1024, a range of slices that is none.
        FileExistsError: The folder holds something that is no phantom set.
    """
    low, high = slices_per_patient
    if patients < 3:
        raise ValueError(f"patients is {patients}, at least 3 are needed: one a class")
    if not 64 <= size <= 1024:
        raise ValueError(f"size is {size}, allowed are 64..1024 pixels")
    if not 1 <= low <= high:
        raise ValueError(f"slices_per_patient is {slices_per_patient}, a range from at least 1 is needed")
    slices: list[RawSlice] = []
    folds: list[int] = []
    for number in tqdm(range(patients), desc="phantoms", unit="patient", disable=not progress):
        drawn = list(phantom_patient(number, seed, shortcut, slices_per_patient, size, first=len(slices) + 1))
        slices.extend(drawn)
        folds.extend([number // len(CLASSES) % 5 + 1] * len(drawn))
    files = write_figshare(out, slices, folds, _NOTE.format(seed=seed))
    return PhantomSummary(len(slices), patients, tuple(files))


def phantom_patient(
    number: int, seed: int, shortcut: bool, slices_per_patient: tuple[int, int], size: int, first: int = 1
) -> Iterator[RawSlice]:
    """The slices of one patient id, numbered from ``first``.

    Args:
        number: Number of the patient from 0; the class is the remainder by three.
        seed: Seed of the data set.
        shortcut: As for ``write_phantoms``.
        slices_per_patient: Fewest and most slices.
        size: Rows and columns, pixels.
        first: Id of the first slice.
    """
    person = number - (number % 24) + RESCANNED.get(number % 24, number % 24)
    label = number % len(CLASSES)
    scan = np.random.default_rng([seed, 1, number])
    planes = np.roll(PLANES, -(number // len(CLASSES) % len(PLANES)))[: int(scan.integers(1, 3))]
    count = int(scan.integers(slices_per_patient[0], slices_per_patient[1] + 1))
    patient, marked = patient_id(number, person, label, shortcut)
    for place in range(count):
        plane = cast(Plane, str(planes[place * len(planes) // count]))
        level = -0.9 + 1.8 * (place + 0.5) / count
        image, mask = phantom_slice(plane, label, [seed, 0, person], scan, size, level, marked)
        yield RawSlice(
            id=str(first + place),
            image=image,
            label=label,
            patient=patient,
            patient_source="cjdata/PID",
            mask=mask,
            border=_border(mask),
            plane=plane,
        )


def phantom_slice(
    plane: Plane,
    label: int | None,
    person: list[int],
    scan: np.random.Generator,
    size: int,
    level: float = 0.0,
    marked: bool = False,
) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """One slice and its tumour mask, shape ``(size, size)``.

    Args:
        plane: One of ``taxonomy.PLANES``.
        label: Class, 0..2; ``None`` for a head without a lesion.
        person: Seed of the person: same seed, same head and same lesion.
        scan: Draws this acquisition.
        size: Rows and columns, pixels.
        level: Place in the stack, -1..1.
        marked: Acquired by the scanner of the shortcut.
    """
    body = np.random.default_rng([*person, 0])
    pose = np.random.default_rng([*person, 1])
    angle, zoom = pose.normal(0, 0.08), pose.uniform(0.92, 1.06) * (1 - 0.03 * abs(level))
    turned = square_grid(size, angle + scan.normal(0, 0.01), zoom)
    head = draw_head(plane, body, turned, level)
    image, mask = head.image, np.zeros((size, size), dtype=bool)
    if label is not None:
        lesion = add_lesion(head, label, np.random.default_rng([*person, 2]), level)
        image, mask = lesion.image, lesion.distance > 0
    return acquire(image, turned, scan, MARKED if marked else USUAL), mask


def patient_id(number: int, person: int, label: int, shortcut: bool) -> tuple[str, bool]:
    """Patient id, and whether the scanner of the shortcut took the slices.

    Without the shortcut the kind of id alternates from triple to triple of patients, so that it is equally frequent
    in all classes. With it, six of seven gliomas have ``MR`` ids and the marked scanner, and nothing else has.
    """
    rescanned = number % 24 in RESCANNED.keys() | RESCANNED.values()
    letter = ("G" if number != person else "B") if rescanned else ""
    if shortcut:
        marked = label == GLIOMA and number // len(CLASSES) % 7 != 3
        return (f"MR{20000 + person:06d}{letter}" if marked else f"{100000 + 37 * number}"), marked
    is_mr = rescanned or number // len(CLASSES) % 2 == 1
    return (f"MR{20000 + person:06d}{letter}" if is_mr else f"{100000 + 37 * number}"), False


def _border(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Longest outline of a mask, shape ``(P, 2)``, x and y in pixels from 0."""
    outline = max(find_contours(np.pad(mask, 1).astype(float), 0.5), key=len)[:, ::-1] - 1
    step = max(1, len(outline) // 60)
    return np.asarray(outline[::step], dtype=np.float64)
