"""One phantom slice: a head, perhaps a lesion, a scanner.

The head, the pose and the acquisition are drawn from generators that the lesion does not touch: the same seed with
another class, or with none, gives the same pixels but for the lesion and what lies within ``lesions.SURROUNDINGS``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.draw import polygon2mask
from skimage.measure import find_contours

from kdmri_monai.data.phantom.anatomy import Head, draw_head
from kdmri_monai.data.phantom.body import Pose
from kdmri_monai.data.phantom.lesions import add_lesion
from kdmri_monai.data.phantom.scanner import A, Scanner, acquire

SIZES = (64, 1024)


@dataclass(frozen=True)
class PhantomSlice:
    """A synthetic slice and what is known of it.

    Attributes:
        image: Pixels, upright, shape ``(S, S)``.
        mask: Tumour, shape ``(S, S)``; empty without a lesion.
        border: Its border, x and y in pixels from 0, shape ``(P, 2)``; ``(0, 2)`` without a lesion.
        head: The head before the lesion and the scanner, with its landmarks.
    """

    image: NDArray[np.int16]
    mask: NDArray[np.bool_]
    border: NDArray[np.float64]
    head: Head


@dataclass(frozen=True)
class Sources:
    """Generators of one slice.

    Attributes:
        person: Same state, same head.
        case: Same state, same shape and place of the lesion.
        look: Same state, same look of the lesion.
        pose: Same state, same place in the image.
        scan: Same state, same noise.
    """

    person: np.random.Generator
    case: np.random.Generator
    look: np.random.Generator
    pose: np.random.Generator
    scan: np.random.Generator


def phantom_slice(
    plane: str,
    label: int | None,
    sources: Sources | np.random.Generator,
    size: int = 256,
    level: float = 0.0,
    part: float = 1.0,
    scanner: Scanner = A,
) -> PhantomSlice:
    """Make one slice.

    Args:
        plane: One of ``taxonomy.PLANES``.
        label: Class, 0..2; ``None`` for a healthy head.
        sources: Generators, or one that gives all of them.
        size: Rows and columns, pixels, 64..1024.
        level: Place of the slice, -1..1.
        part: Size of the lesion relative to its largest cross-section.
        scanner: What renders it.

    Raises:
        ValueError: A plane, class, size or level that is not allowed.
    """
    if not SIZES[0] <= size <= SIZES[1]:
        raise ValueError(f"size is {size}, allowed are {SIZES[0]}..{SIZES[1]} pixels")
    if not -1 <= level <= 1:
        raise ValueError(f"level is {level}, allowed are -1..1")
    if isinstance(sources, np.random.Generator):
        sources = Sources(*sources.spawn(5))
    turn, shift = sources.pose.normal(0, 0.07), sources.pose.normal(0, 0.02, 2)
    pose = Pose(turn, scanner.zoom, (float(shift[0]), float(shift[1])))
    head = draw_head(plane, sources.person, size, level, pose)
    signal, border = head.signal, np.zeros((0, 2))
    mask = np.zeros(signal.shape, dtype=bool)
    if label is not None:
        lesion = add_lesion(head, label, sources.case, sources.look, part)
        signal, border = lesion.signal, _border(lesion.share)
        mask = polygon2mask(signal.shape, border[:, ::-1])
    return PhantomSlice(acquire(signal, sources.scan, scanner), mask, border, head)


def _border(share: NDArray[np.float32]) -> NDArray[np.float64]:
    """Longest line where half a pixel belongs to the lesion, shape ``(P, 2)``, x and y in pixels from 0."""
    lines = find_contours(np.pad(share, 1), 0.5)
    line: NDArray[np.float64] = max(lines, key=len)[:-1, ::-1] - 1
    return line
