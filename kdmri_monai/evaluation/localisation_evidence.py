"""Where a network looks, measured on slices with a mask: every measure beside its chance and with its interval.

The threshold of the overlap is chosen on another split than the result's; with random weights the same network says
what its architecture and the shape of heads alone would give.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kdmri_monai.data.taxonomy import CLASSES
from kdmri_monai.evaluation.heat_file import HeatMaps
from kdmri_monai.evaluation.heat_methods import HeatMethod, heat_methods
from kdmri_monai.evaluation.localised_slices import LocalisedSlices, RandomisedCheck
from kdmri_monai.evaluation.overlap import best_threshold, overlaps
from kdmri_monai.evaluation.resampling import Resampling
from kdmri_monai.evaluation.slice_batches import Batches, SliceBatch, answer, read_batch
from kdmri_monai.networks.tap_spec import TapSpec

TOLERANCE = 2.0
CHECKED = 100
"""Slices of the check with random weights, spread evenly over those with a mask."""

DRAWS = 3


def localise(
    network: nn.Module,
    batches: Batches,
    device: torch.device | str,
    split: str = "test",
    threshold_split: str = "validation",
    layer: TapSpec | None = None,
    tolerance: float = TOLERANCE,
    classes: Sequence[str] = CLASSES,
    resampling: Resampling | None = None,
    checked: int = CHECKED,
    draws: int = DRAWS,
) -> tuple[dict[str, Any], HeatMaps | None]:
    """Localisation of a network by every method that it allows, for the class that it predicts.

    Args:
        network: On ``device``, gives logits ``(B, K)``; it is left as it was. One that is given masks gets them, and
            its heat is that of its image branch.
        batches: Called with ``threshold_split`` once and with ``split`` twice, one batch in memory at a time; whoever
            wants to show progress counts what it gives. Slices without tumour in a mask are left out.
        device: Where to compute.
        split: What the result is computed from.
        threshold_split: What the threshold of the overlap is chosen on.
        layer: Layer of Grad-CAM; found by ``default_cam_layer`` where none is named.
        tolerance: Of the pointing game, pixels.
        classes: Names of the K classes.
        resampling: How the intervals are found; 2,000 replicates, 95 %, seed 0 by default.
        checked: Slices of the check with random weights at most; 0 for no check.
        draws: Networks with random weights, at least 1.

    Returns:
        The section ``localisation``: ``slices`` and ``families`` that were looked at, ``without_heat`` (slices left out
        of the first method's numbers), ``tolerance``, and ``methods`` with ``method``, ``layer``, their own
        ``without_heat``, means over slices of every measure of ``CHANCES``,
        of its chance and of the difference (``energy_minus_chance``),
        ``energy_over_area`` (ratio of the means), ``iou_threshold``, and ``randomised``: ``similarity`` (rank
        correlation) and ``ssim`` of the heat with that of random weights, whose ``energy_over_area`` it holds too. Of
        the overlaps all is NaN where no slice of ``threshold_split`` has heat. Instead ``{"skipped": reason}`` where no
        method fits the network, or slices with masks are missing. And heat of the first method; ``None`` if skipped.

    Raises:
        ValueError: A named layer is missing or does not depend on the image, a number out of range, a batch that lacks
            a key.
        PredictionError: An id repeats, or another number of classes.
    """
    if checked < 0 or draws < 1:
        raise ValueError(f"checked is {checked} and draws {draws}, they must be at least 0 and 1")
    chosen_on = with_tumour(batches(threshold_split), device)
    first = next(chosen_on, None)
    if first is None:
        return {"skipped": f"no {threshold_split} slice has a mask, on which the overlap's threshold is chosen"}, None
    methods, reason = heat_methods(network, first.image.shape[1:], layer)
    if not methods:
        return {"skipped": reason}, None
    thresholds = _thresholds(network, methods, chain([first], chosen_on))
    looked = LocalisedSlices(methods, thresholds, tolerance, classes)
    for batch in with_tumour(batches(split), device):
        looked.add(network, batch)
    if not len(looked):
        return {"skipped": f"no {split} slice has a mask"}, None
    table, resampling = looked.table(), resampling or Resampling()
    rows = np.linspace(0, len(table) - 1, min(checked, len(table))).round().astype(np.int64)
    check = RandomisedCheck(network, methods, draws) if checked else None
    if check:
        for batch in _numbered(with_tumour(batches(split), device), rows):
            check.add(batch)
    parts = [
        {"method": method.name, "layer": method.layer, **looked.numbers(place, table, resampling),
         "randomised": check.numbers(place, table.take(rows), resampling) if check else None}
        for place, method in enumerate(methods)
    ]  # fmt: skip
    section = {"slices": len(table), "families": len(np.unique(table.family)), "tolerance": tolerance}
    return section | {"without_heat": parts[0]["without_heat"], "methods": parts}, looked.maps()


def with_tumour(batches: Iterable[Mapping[str, Any]], device: torch.device | str) -> Iterator[SliceBatch]:
    """The slices of every batch whose mask has a tumour; batches without any are passed over."""
    for mapping in batches:
        batch = read_batch(mapping, device)
        rows = batch.has_mask & (batch.mask > 0.5).flatten(start_dim=1).any(dim=1)
        if rows.any():
            yield batch.take(rows)


def _thresholds(network: nn.Module, methods: Sequence[HeatMethod], batches: Iterable[SliceBatch]) -> list[float]:
    """The best threshold of the overlap by method; NaN where no slice has heat."""
    found: list[list[Tensor]] = [[] for _ in methods]
    for batch in batches:
        classes = answer(network, batch).argmax(dim=1)
        for method, columns in zip(methods, found, strict=True):
            columns.append(overlaps(method.heat(network, batch, classes), batch.mask).cpu())
    tables = [torch.cat(columns) for columns in found]
    return [math.nan if table.isnan().all() else best_threshold(table) for table in tables]


def _numbered(batches: Iterable[SliceBatch], rows: NDArray[np.int64]) -> Iterator[SliceBatch]:
    """The slices with these numbers, counted over all batches."""
    start = 0
    for batch in batches:
        here = rows[(rows >= start) & (rows < start + len(batch))] - start
        start += len(batch)
        if len(here):
            yield batch.take(torch.from_numpy(here))
