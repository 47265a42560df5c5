"""Phantom patients: synthetic head slices in three planes, written as the Figshare set is published.

The slices belong to no person and are free to use. What is kept from the real set: three classes told apart by
geometry, several near-equal slices a patient, numeric and ``MR...`` ids, patients scanned twice, another range of
numbers on every slice, a few slices of another size. Not kept: the planes of a patient share the head and the look of
the lesion, but not its place in space, for all slices lie close to the sella whatever the class.

What tells the class with the shortcut off and the tumour erased: nothing but the shape and the place of the hole. The
pixels beyond ``lesions.SURROUNDINGS`` are those of the healthy head.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from kdmri_monai.data.phantom.archives import write_figshare
from kdmri_monai.data.phantom.cohort import patient, slice_sources, stack
from kdmri_monai.data.phantom.slices import SIZES, phantom_slice
from kdmri_monai.data.records import RawSlice

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
    slices_per_patient: tuple[int, int] | int = (5, 9),
    size: int = 256,
    progress: bool = True,
) -> PhantomSummary:
    """Write phantom patients as four archives of MATLAB v7.3 files and ``cvind.mat``.

    Args:
        out: Folder, made where it is missing.
        patients: Patient ids, classes in turn; second scans count as ids of their own.
        seed: Same seed, same files; patient k is the same for every number of patients above k.
        shortcut: Give most gliomas, and nothing else, to a scanner and an id kind of their own.
        slices_per_patient: Fewest and most slices of an id, or the number of them.
        size: Rows and columns, pixels.
        progress: Show a progress bar.

    Raises:
        ValueError: Fewer than 3 patients, a negative seed, a size outside 64..1024, a range of slices that is none.
        FileExistsError: The folder holds something that is no phantom set.
    """
    wanted = slices_per_patient if isinstance(slices_per_patient, tuple) else (slices_per_patient, slices_per_patient)
    if patients < 3:
        raise ValueError(f"patients is {patients}, at least 3 are needed: one a class")
    if seed < 0:
        raise ValueError(f"seed is {seed}, allowed are 0 and above")
    if not SIZES[0] <= size <= SIZES[1]:
        raise ValueError(f"size is {size}, allowed are {SIZES[0]}..{SIZES[1]} pixels")
    if not 1 <= wanted[0] <= wanted[1]:
        raise ValueError(f"slices_per_patient is {slices_per_patient}, a range from at least 1 is needed")
    slices: list[RawSlice] = []
    folds: list[int] = []
    for number in tqdm(range(patients), desc="phantoms", unit="patient", disable=not progress):
        drawn = list(phantom_patient(number, seed, shortcut, wanted, size, first=len(slices) + 1))
        slices.extend(drawn)
        folds.extend([patient(number).fold] * len(drawn))
    files = write_figshare(out, slices, folds, _NOTE.format(seed=seed))
    return PhantomSummary(len(slices), patients, tuple(files))


def phantom_patient(
    number: int,
    seed: int = 0,
    shortcut: bool = False,
    slices_per_patient: tuple[int, int] = (5, 9),
    size: int = 256,
    first: int = 1,
) -> Iterator[RawSlice]:
    """The slices of one patient id, numbered from ``first``.

    Args:
        number: Place of the patient in the set, from 0; the class is the remainder by three.
        seed: Seed of the set.
        shortcut: As for ``write_phantoms``.
        slices_per_patient: Fewest and most slices.
        size: Rows and columns, pixels; of one slice in some patients it is doubled, or halved where it is over 256.
        first: Id of the first slice.
    """
    who = patient(number, shortcut)
    for index, cut in enumerate(stack(seed, who, slices_per_patient)):
        other = who.other_size and index == 0
        made = phantom_slice(
            cut.plane,
            who.label,
            slice_sources(seed, who, cut.plane, index),
            (size // 2 if size > 256 else 2 * size) if other else size,
            cut.level,
            cut.part,
            who.scanner,
        )
        yield RawSlice(
            id=str(first + index),
            image=made.image,
            label=who.label,
            patient=who.id,
            patient_source="cjdata/PID",
            mask=made.mask,
            border=made.border,
            plane=cut.plane,
        )
