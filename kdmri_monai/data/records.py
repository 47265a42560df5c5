"""What is known of one slice, from the source to the datalist."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class RawSlice:
    """One slice as its source gives it.

    Attributes:
        id: Name that is unique in the data set; the number of the file in the Figshare set.
        image: Pixels, upright, shape ``(rows, columns)``, any real dtype.
        label: Class, 0..K-1; of the three tumours in the order of ``taxonomy.CLASSES``.
        patient: Patient id as the source spells it.
        patient_source: Where the id was read, e.g. ``cjdata/PID``.
        mask: Tumour, boolean, shape of ``image``; ``None`` where the source has none.
        border: Tumour border, shape ``(P, 2)``, columns x (along a row) and y, pixels of ``image`` counted
            from 0; ``None`` where the source has none.
        plane: One of ``taxonomy.PLANES``, or ``None`` where it is not known.
    """

    id: str
    image: NDArray[np.generic]
    label: int
    patient: str
    patient_source: str
    mask: NDArray[np.bool_] | None = None
    border: NDArray[np.float64] | None = None
    plane: str | None = None


@dataclass(frozen=True)
class SliceRecord:
    """One slice as the image store holds it; everything but the pixels.

    Attributes:
        id: Name that is unique in the data set.
        index: Row of the slice in the store.
        label: Class, 0..K-1.
        patient: Patient id as the source spells it.
        patient_source: Where the id was read.
        source: File, or archive and member, that the slice came from.
        size: Rows and columns of the image in the source.
        sha256: Digest of the stored pixels, 64 hexadecimal digits.
        has_mask: Whether the source gave a tumour mask.
        plane: One of ``taxonomy.PLANES``, or ``None``.
        border: x0, y0, x1, y1, ... in pixels of the stored image, or ``None``.
    """

    id: str
    index: int
    label: int
    patient: str
    patient_source: str
    source: str
    size: tuple[int, int]
    sha256: str
    has_mask: bool
    plane: str | None = None
    border: tuple[float, ...] | None = None
