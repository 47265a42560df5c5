"""How a lesion looks: mass effect, oedema, enhancement, core, tail of the dura.

Brightness is drawn alike for all classes. Nothing of a lesion reaches further from its mask than ``SURROUNDINGS``:
erase the tumour with that margin, and the rest of the slice is the healthy head to the last bit.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt, map_coordinates

from kdmri_monai.data.phantom.anatomy import Head
from kdmri_monai.data.phantom.atlas import SIGNALS
from kdmri_monai.data.phantom.noise import field, heights
from kdmri_monai.data.phantom.shapes import Array, normals, paint
from kdmri_monai.data.phantom.tumours import GLIOMA, MENINGIOMA, Outline, outline

SURROUNDINGS = 0.07
"""Furthest effect of a lesion beyond its mask, share of the image's width."""
_REACH = 2 * SURROUNDINGS - 0.03  # the same in half fields of view, less what blur and rasterising add


@dataclass(frozen=True)
class Lesion:
    """A head with a lesion.

    Attributes:
        signal: Brightness, shape ``(S, S)``.
        share: Share of every pixel that belongs to the lesion, shape ``(S, S)``; the mask is where it is over a half.
    """

    signal: Array
    share: Array


def add_lesion(
    head: Head, label: int, case: np.random.Generator, look: np.random.Generator, part: float = 1.0
) -> Lesion:
    """Put a lesion of a class into a head.

    Args:
        head: Healthy head.
        label: Class, 0..2, in the order of ``taxonomy.CLASSES``.
        case: Draws shape and place; the same state gives the same in every slice.
        look: Draws brightness, core, oedema and mass effect; the same state gives the same in every slice.
        part: Size relative to its largest cross-section, 0..1.

    Raises:
        ValueError: Another label.
    """
    shape = outline(head, label, case, part)
    size = len(head.signal)
    share = np.clip(shape.inside * (size / 2) + 0.5, 0, 1)
    distance = _signed_distance(shape.inside)
    signal = _pushed(head, shape, distance, look.uniform(0.2, 0.5))
    swollen = look.uniform() < {MENINGIOMA: 0.4, GLIOMA: 0.8}.get(label, 0.0)
    oedema = look.uniform(0.35, 0.8) * swollen
    edge = 0.55 * _REACH * (1 + 0.45 * field(heights(look, 18), size))
    fade = oedema * np.clip((edge + distance) / 0.03, 0, 1) * np.clip((_REACH + distance) / 0.02, 0, 1)
    signal = signal + fade * head.cavity * np.clip(signal - 0.29, 0, 0.2) * -1.0
    enhancement = look.uniform(0.60, 0.88)
    if label == MENINGIOMA and shape.base is not None:
        _tail(signal, shape, distance, enhancement)
    inside = _interior(label, distance, look, enhancement, size)
    soft = np.clip(shape.inside * (size / 2) / 2.2 + 0.5, 0, 1) if label == GLIOMA else share
    return Lesion((signal + soft * (inside - signal)).astype(np.float32), share.astype(np.float32))


def _signed_distance(inside: Array) -> Array:
    """Exact distance to the border in half fields of view, positive inside, on the pixels round the lesion."""
    size = len(inside)
    within = inside > 0
    result = np.full(inside.shape, -np.inf, np.float32)
    if not within.any():
        return result
    margin = int(np.ceil(SURROUNDINGS * size)) + 2
    rows, columns = (np.flatnonzero(within.any(axis=axis)) for axis in (1, 0))
    box = tuple(slice(max(0, lines[0] - margin), lines[-1] + margin + 1) for lines in (rows, columns))
    crop = np.pad(within[box], 1)
    both = distance_transform_edt(crop) - distance_transform_edt(~crop)
    result[box] = both[1:-1, 1:-1] * (2 / size)
    return result


def _pushed(head: Head, shape: Outline, distance: Array, strength: float) -> Array:
    """The brain round the lesion, moved away from its middle; the skull stays."""
    size = len(head.signal)
    at = np.nonzero((distance > -_REACH) & (head.cavity > 0))
    if not len(at[0]):
        return head.signal.copy()
    gap = np.clip(1 + distance[at] / _REACH, 0, 1)
    to_skull = np.clip((head.cavity[at] - 0.5) * 2, 0, 1)
    x, y = ((index + 0.5) * (2 / size) - 1 - middle for index, middle in zip(at[::-1], shape.centre, strict=True))
    pull = strength * _REACH * gap**2 * (1 - gap / 2) * to_skull / np.maximum(np.hypot(x, y), 1e-3)
    where = np.stack([at[0] - pull * y * (size / 2), at[1] - pull * x * (size / 2)])
    signal = head.signal.copy()
    signal[at] = map_coordinates(head.signal, where, order=1, mode="nearest")
    return signal


def _tail(signal: Array, shape: Outline, distance: Array, enhancement: float) -> None:
    """Enhancing dura on both sides of the base, thinner with the distance, in place."""
    if shape.base is None or len(shape.base) < 4:
        return
    line = shape.base
    thickness = 0.020 * np.sin(np.pi * np.linspace(0.05, 0.95, len(line)))[:, None]
    normal = normals(line, closed=False)
    strip = np.concatenate([line + 0.2 * thickness * normal, (line - thickness * normal)[::-1]])
    paint(signal, strip, enhancement, np.clip((_REACH + distance) / 0.03, 0, 1))


def _interior(label: int, distance: Array, look: np.random.Generator, enhancement: float, size: int) -> Array:
    """Brightness inside: even, with a cyst now and then; a glioma has a ring round a dark core, or patches."""
    patches = field(heights(look, 34), size)
    deepest = max(float(distance.max()), 1e-3)
    core_signal, kind, depth = look.uniform(SIGNALS["fluid"], 0.30), look.uniform(), look.uniform(0.18, 0.42)
    if label == GLIOMA:
        rim = deepest * (depth + (0.25 if kind < 0.12 else 0.0)) * (1 + 0.35 * field(heights(look, 16), size))
        solid, roughness = enhancement * (1 + 0.16 * patches), 0.2
    else:
        rim = np.full_like(distance, 0.6 * deepest if kind < 0.10 else np.inf)
        solid, roughness = enhancement * (1 + 0.05 * patches), 0.0
    core = np.clip((distance - rim) / 0.02 + 0.5, 0, 1)
    return np.asarray(solid + core * (core_signal * (1 + roughness * patches) - solid), np.float32)
