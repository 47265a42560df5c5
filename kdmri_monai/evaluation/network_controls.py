"""What a network answers when the tumour is erased, when nothing else is shown, and when only the background is.

Everything is over the same slices, those with a mask; each answer beside its chance, found by permuting labels over
families. A mask drawn tightly, oedema and displaced brain beyond the margin tell of the tumour too: a class told from
erased slices is told from outside of mask and margin, which is a reason to doubt, not yet proof of a shortcut.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from kdmri_monai.evaluation.control_rows import ControlRow, decision_row, undefined_row
from kdmri_monai.evaluation.erasure import MARGIN, Fill, erase, keep_background, keep_tumour, tumour_sides
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.resampling import Resampling
from kdmri_monai.evaluation.slice_batches import Answers, SliceBatch, answer, given_masks, read_batch

HIDDEN = 0.95
"""Share of the tumours that the square of the background control hides; slices with larger ones are left out."""

INTACT, TUMOUR, BACKGROUND = "intact", "tumour_only", "background_only"
ERASED: dict[Fill, str] = {fill: f"erased_{fill}" for fill in get_args(Fill)}

_TITLES = {
    INTACT: "Slice as it is",
    ERASED["mean"]: "Tumour erased, mean of the slice",
    ERASED["black"]: "Tumour erased, black",
    ERASED["inpaint"]: "Tumour erased, inpainted",
    TUMOUR: "Tumour only",
    BACKGROUND: "Background only, tumour under a square",
}
_EXPLAINS = {
    INTACT: "What the controls below are to be compared with.",
    ERASED["mean"]: "The class should not be told without the tumour; the outline of the hole can still be seen.",
    ERASED["black"]: "The class should not be told without the tumour; the outline of the hole can still be seen.",
    ERASED["inpaint"]: "The class should not be told without the tumour, of which only the place is left to guess.",
    TUMOUR: "What the tumour alone tells such a network, which has never seen one without a head.",
    BACKGROUND: "Shape and size of the tumour are hidden by a square of one side; its place can still be seen.",
}
_GIVEN = "This network is given the tumour mask, also when the image hides the tumour: the row says nothing. "


def network_controls(
    network: nn.Module,
    batches: Iterable[Mapping[str, Any]],
    device: torch.device | str,
    classes: Sequence[str],
    resampling: Resampling | None = None,
    margin: int = MARGIN,
) -> list[ControlRow]:
    """Rows of one network: intact, erased with three fills, tumour only, background only.

    Args:
        network: Gives logits ``(B, K)``; it is on ``device`` and runs in eval mode. One that is given masks is shown
            the slices as well, but its rows catch nothing.
        batches: As ``read_batch`` takes them. Slices without mask are left out. They are kept until the side of the
            square is known, eight bytes a pixel.
        device: Where to compute.
        classes: Names of the K classes.
        resampling: Of the intervals and of the permutations; 2,000, 95 %, seed 0 by default.
        margin: Pixels by which a tumour is taken to be larger than its mask where it is hidden.

    Returns:
        Six rows. Where no slice has a mask, or tumours are too large for the square, a row has no numbers and says why.

    Raises:
        ValueError: A batch lacks a key, or as ``erase``.
        PredictionError: An id repeats, a probability is not finite, or another number of classes.
    """
    resampling = resampling or Resampling()
    slices = [part.take(part.has_mask) for part in (read_batch(batch, "cpu") for batch in batches)]
    slices = [part for part in slices if len(part)]
    if not slices:
        reason = "No slice has a mask, so that no tumour can be hidden."
        return [_undefined(name, classes, reason) for name in _TITLES]
    side = _square(slices, margin)
    tables = _answered(network, slices, device, classes, side, margin)
    given, count = given_masks(network), len(tables[INTACT])
    rows = [_row(table, name, resampling, given, side, count) for name, table in tables.items()]
    if BACKGROUND not in tables:
        reason = f"Tumours are so large that a square of {side} pixels would leave nothing of the image."
        rows.append(_undefined(BACKGROUND, classes, reason))
    return sorted(rows, key=lambda row: list(_TITLES).index(row.name))


def _undefined(name: str, classes: Sequence[str], reason: str) -> ControlRow:
    return undefined_row(name, _TITLES[name], "network", "balanced_accuracy", 1 / len(classes), reason)


def _square(slices: Sequence[SliceBatch], margin: int) -> int:
    """Side of the square that hides most tumours with their margin, pixels."""
    sides = torch.cat([tumour_sides(part.mask) for part in slices]).numpy()
    return ceil(float(np.quantile(sides, HIDDEN))) + 2 * margin


def _answered(
    network: nn.Module,
    slices: Sequence[SliceBatch],
    device: torch.device | str,
    classes: Sequence[str],
    side: int,
    margin: int,
) -> dict[str, Predictions]:
    shown, background = Answers(classes), Answers(classes)
    for held in slices:
        part = _on(held, device)
        images: dict[str, Tensor] = {INTACT: part.image, TUMOUR: keep_tumour(part.image, part.mask)}
        images |= {name: erase(part.image, part.mask, fill, margin) for fill, name in ERASED.items()}
        shown.add(part, {name: answer(network, part.with_image(image)) for name, image in images.items()})
        small = part.take(tumour_sides(part.mask) + 2 * margin <= side)
        if len(small) and side < min(part.image.shape[2:]):
            hidden = keep_background(small.image, small.mask, side)
            background.add(small, {BACKGROUND: answer(network, small.with_image(hidden))})
    return shown.tables() | background.tables()


def _on(part: SliceBatch, device: torch.device | str) -> SliceBatch:
    names = "image", "mask", "has_mask", "label"
    return replace(part, **{name: getattr(part, name).to(device) for name in names})


def _row(table: Predictions, name: str, resampling: Resampling, given: bool, side: int, slices: int) -> ControlRow:
    confidence = table.probabilities.max(axis=1).mean()
    explains = _EXPLAINS[name]
    if name == BACKGROUND:
        explains += f" The square has {side} pixels a side; slices left out with larger tumours: {slices - len(table)}."
    explains += f" Mean probability of the answer: {confidence:.2f}."
    judged = name not in (INTACT, TUMOUR) and not given
    prefix = _GIVEN if given and name != INTACT else ""
    return decision_row(table, name, _TITLES[name], "network", prefix + explains, resampling, judged)
