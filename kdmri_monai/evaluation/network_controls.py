"""What a network answers when the tumour is erased, when nothing else is shown, and when only the background is.

Everything is over the same slices, those with a mask; each answer beside its chance, found by permuting labels over
families. Where a hole lies, and how large it is, tells of the tumour that was there: on phantoms without any shortcut a
network can be right in half of the inpainted slices by that. So there is a row in which every slice has holes of all
classes (``matched_holes``), and the other rows catch a shortcut only where this one does.

A mask drawn tightly, oedema and displaced brain beyond the margin tell of the tumour too: a class told from erased
slices is told from outside of mask and margin, which is a reason to doubt, not yet proof of a shortcut.
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
from kdmri_monai.evaluation.matched_holes import matched_holes
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.resampling import Resampling
from kdmri_monai.evaluation.slice_batches import Answers, SliceBatch, answer, given_masks, read_batch
from kdmri_monai.evaluation.split_slices import joined
from kdmri_monai.networks.inpainting import inpaint

HIDDEN = 0.95
"""Share of the tumours that the square of the background control hides; slices with larger ones are left out."""

DRAWS = 2
"""How often the holes of other classes are drawn; the probabilities are averaged."""

INTACT, MATCHED, TUMOUR, BACKGROUND = "intact", "erased_matched", "tumour_only", "background_only"
ERASED: dict[Fill, str] = {fill: f"erased_{fill}" for fill in get_args(Fill)}

_TITLES = {
    INTACT: "Slice as it is",
    ERASED["mean"]: "Tumour erased, mean of the slice",
    ERASED["black"]: "Tumour erased, black",
    ERASED["inpaint"]: "Tumour erased, inpainted",
    MATCHED: "Holes of all classes, inpainted",
    TUMOUR: "Tumour only",
    BACKGROUND: "Background only, tumour under a square",
}
_EXPLAINS = {
    INTACT: "What the controls below are to be compared with.",
    ERASED["mean"]: "The class should not be told without the tumour; the outline of the hole can still be seen.",
    ERASED["black"]: "The class should not be told without the tumour; the outline of the hole can still be seen.",
    ERASED["inpaint"]: "The class should not be told without the tumour, of which only the place is left to guess.",
    MATCHED: "Beside the tumour, what tumours of the other classes would cover is inpainted: the holes tell nothing.",
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
    """Rows of one network: intact, erased with three fills, holes of all classes, tumour only, background only.

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
        Seven rows. Where no slice has a mask, or where tumours are too large for a square or for holes of all classes,
        a row has no numbers and says why.

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
    tables = _answered(network, slices, device, classes, side, margin) | _matched(
        network, slices, device, classes, margin
    )
    given, count = given_masks(network), len(tables[INTACT])
    rows = {name: _row(table, name, resampling, given, side, count) for name, table in tables.items()}
    for name in (MATCHED, BACKGROUND):
        reason = "Tumours are so large that their holes or a square of one side would leave nothing of an image."
        rows.setdefault(name, _undefined(name, classes, reason))
    return [_only_if_matched(rows[name], rows[MATCHED]) for name in _TITLES]


def _only_if_matched(row: ControlRow, matched: ControlRow) -> ControlRow:
    """A row whose verdict stands only where the hole cannot explain it."""
    if not row.caught or matched.caught is not False:
        return row
    words = " This is above chance, but not so with holes of all classes: the hole may have told."
    return replace(row, caught=None, explains=row.explains + words)


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


def _matched(
    network: nn.Module, slices: Sequence[SliceBatch], device: torch.device | str, classes: Sequence[str], margin: int
) -> dict[str, Predictions]:
    """Mean probabilities over draws of holes; nothing where an image is covered as a whole."""
    whole, total = joined(slices), torch.zeros(())
    for draw in range(DRAWS):
        holes = torch.from_numpy(matched_holes(whole, whole, margin, draw))[:, None]
        if holes.flatten(start_dim=1).all(dim=1).any():
            return {}
        parts = zip(slices, holes.split([len(part) for part in slices]), strict=True)
        logits = [
            answer(network, part.with_image(inpaint(part.image, hole.to(device))))
            for part, hole in ((_on(held, device), hole) for held, hole in parts)
        ]
        total = total + torch.cat(logits).double().softmax(dim=1).cpu()
    answers = Answers(classes)
    answers.add(whole, {MATCHED: (total / DRAWS).log()})
    return answers.tables()


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
