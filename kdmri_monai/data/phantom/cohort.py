"""Who is scanned when and where: plain rules, the same for every class unless the shortcut is on.

Patients are numbered from 0; the class is the remainder by three, so that classes come in triples. In every eight
triples half are scanned by scanner A, with a numeric id, and half by scanner B, with an ``MR...`` id; one triple is a
second scan, months later, of the three persons before them: same family, the id differs in its last letter.
"""

from dataclasses import dataclass

import numpy as np

from kdmri_monai.data.phantom.scanner import A, B, Scanner
from kdmri_monai.data.phantom.slices import Sources
from kdmri_monai.data.phantom.tumours import GLIOMA
from kdmri_monai.data.taxonomy import CLASSES, PLANES

_CYCLE = 8
_ON_B = (1, 2, 4, 6)
_FIRST_SCAN, _SECOND_SCAN = 1, 2
_ODD_SIZE = 5
_GLIOMA_ON_A = (3, 7)  # with the shortcut on
_PERSON, _CASE, _LOOK, _POSE, _SCAN, _STACK = range(6)


@dataclass(frozen=True)
class Patient:
    """One patient id of the phantom set.

    Attributes:
        number: Place in the set, from 0.
        person: Number of the person's first scan; another one than ``number`` for a second scan.
        label: Class, 0..2.
        id: Patient id.
        scanner: What took the slices.
        other_size: Whether the first slice is of another size than the rest.
        fold: Fold by patient, 1..5; as in the published set, two scans of a person may fall in two folds.
    """

    number: int
    person: int
    label: int
    id: str
    scanner: Scanner
    other_size: bool
    fold: int

    @property
    def second_scan(self) -> bool:
        """Whether the person was scanned before."""
        return self.person != self.number


def patient(number: int, shortcut: bool = False) -> Patient:
    """The patient at a place of the set.

    Args:
        number: Place, from 0.
        shortcut: Whether most gliomas, and nothing else, come from scanner B.
    """
    triple, label = divmod(number, len(CLASSES))
    turn = triple % _CYCLE
    on_b = (label == GLIOMA and turn not in _GLIOMA_ON_A) if shortcut else turn in _ON_B
    twice = on_b and turn in (_FIRST_SCAN, _SECOND_SCAN)
    person = number - len(CLASSES) if twice and turn == _SECOND_SCAN else number
    letter = ("G" if turn == _SECOND_SCAN else "B") if twice else ""
    return Patient(
        number=number,
        person=person,
        label=label,
        id=f"MR{20000 + 37 * person:06d}{letter}" if on_b else f"{100000 + 37 * number}",
        scanner=B if on_b else A,
        other_size=turn == _ODD_SIZE,
        fold=triple % 5 + 1,
    )


def generator(seed: int, *key: int) -> np.random.Generator:
    """Generator of one purpose, independent of every other key."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def slice_sources(seed: int, who: Patient, plane: str, index: int) -> Sources:
    """Generators of one slice; the scans of a person share head and lesion, the slices of a plane all but the noise."""
    place = PLANES.index(plane)
    return Sources(
        person=generator(seed, who.person, _PERSON),
        case=generator(seed, who.person, _CASE, place),
        look=generator(seed, who.person, _LOOK),
        pose=generator(seed, who.number, _POSE, place),
        scan=generator(seed, who.number, _SCAN, index),
    )


@dataclass(frozen=True)
class Cut:
    """One slice of a stack: its plane, its place -1..1 and the lesion's size there, relative to its largest."""

    plane: str
    level: float
    part: float


def stack(seed: int, who: Patient, slices: tuple[int, int]) -> list[Cut]:
    """Slices of a patient: neighbours in all three planes, in two or one where there are fewer than three.

    Planes, places and numbers are drawn without regard to the class.
    """
    draw = generator(seed, who.number, _STACK)
    count = int(draw.integers(slices[0], slices[1] + 1))
    order = np.roll(PLANES, -(who.number // len(CLASSES)))
    growth = 1.0 if who.second_scan else draw.uniform(0.8, 1.0)
    cuts = []
    for turn, plane in enumerate(order):
        here = len(range(turn, count, len(order)))
        half = 0.125 * (here - 1) if here < 7 else 0.75
        middle, centre, reach = (
            draw.uniform(half - 0.95, 0.95 - half),
            draw.uniform(-0.25, 0.25),
            draw.uniform(1.8, 2.6),
        )
        for place in np.linspace(-half, half, here) + middle:
            part = growth * np.sqrt(1 - ((place - centre) / reach) ** 2)
            cuts.append(Cut(str(plane), float(place), float(part)))
    return cuts
