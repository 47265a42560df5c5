"""What is measured of the heat of every slice, gathered batch by batch, and its means over slices with intervals."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kdmri_monai.evaluation.family_statistics import Column, family_means
from kdmri_monai.evaluation.heat_file import HeatMaps, small_heat
from kdmri_monai.evaluation.heat_methods import HeatMethod
from kdmri_monai.evaluation.intervals import bootstrap
from kdmri_monai.evaluation.localisation import area_share, energy_in_mask, pointing_chance, pointing_game
from kdmri_monai.evaluation.metrics import ratio
from kdmri_monai.evaluation.overlap import overlap_chance, overlaps
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.randomised import heat_ssim, randomised_copy, rank_correlation
from kdmri_monai.evaluation.resampling import Resampling
from kdmri_monai.evaluation.slice_batches import Answers, SliceBatch, answer
from kdmri_monai.evaluation.statistic import Values

CHANCES = {"energy": "area", "pointing_game": "pointing_chance", "iou": "iou_chance"}
"""Every measure and its chance level."""

DIFFERENCES = {"energy_minus_chance": "energy", "pointing_minus_chance": "pointing_game", "iou_minus_chance": "iou"}
"""Every measure less its chance level, by name."""

MEASURES = tuple(name for pair in CHANCES.items() for name in pair)
SIMILARITIES = ("similarity", "ssim", "energy", "area")


class LocalisedSlices:
    """Heat of slices, measured against their masks.

    Args:
        methods: M ways to see where the network looks.
        thresholds: Of the overlap by method; NaN where none is known, and the overlap is NaN then.
        tolerance: Of the pointing game, pixels.
        classes: Names of the K classes.
    """

    def __init__(
        self, methods: Sequence[HeatMethod], thresholds: Sequence[float], tolerance: float, classes: Sequence[str]
    ) -> None:
        self.methods, self.thresholds, self.tolerance = tuple(methods), tuple(thresholds), tolerance
        self._answers = Answers(classes)
        self._columns: list[list[Tensor]] = [[] for _ in self.methods]
        self._small: list[tuple[NDArray[np.uint8], NDArray[np.float32]]] = []

    def __len__(self) -> int:
        return len(self._answers)

    def add(self, network: nn.Module, batch: SliceBatch) -> None:
        """Slices, all with a tumour in their mask; the heat is that of the class that the network predicts."""
        logits = answer(network, batch)
        self._answers.add(batch, {"intact": logits})
        for place, (method, threshold) in enumerate(zip(self.methods, self.thresholds, strict=True)):
            heat = method.heat(network, batch, logits.argmax(dim=1))
            self._columns[place].append(self._measured(heat, batch.mask, threshold).cpu())
            if place == 0:
                self._small.append(small_heat(heat))

    def table(self) -> Predictions:
        """What the network answered, in the order of the slices."""
        return self._answers.tables()["intact"]

    def maps(self) -> HeatMaps:
        """Heat of the first method."""
        heat, maximum = (np.concatenate(parts) for parts in zip(*self._small, strict=True))
        return HeatMaps(self.table().id, heat, maximum, self.methods[0].name, self.methods[0].layer)

    def numbers(self, place: int, table: Predictions, resampling: Resampling) -> dict[str, Any]:
        """Means of one method over the slices with heat, and ``without_heat``, how many have none."""
        columns = dict(zip(MEASURES, torch.cat(self._columns[place]).numpy().T, strict=True))
        warm = ~np.isnan(columns["energy"])
        means = _intervals(table, columns, warm, resampling)
        return {"without_heat": int((~warm).sum()), **means, "iou_threshold": self.thresholds[place]}

    def _measured(self, heat: Tensor, mask: Tensor, threshold: float) -> Tensor:
        """``MEASURES`` of every slice, shape ``(B, 6)``."""
        energy, area = energy_in_mask(heat, mask), area_share(mask)
        hit, hit_chance = pointing_game(heat, mask, self.tolerance), pointing_chance(mask, self.tolerance)
        iou, iou_chance = torch.full_like(energy, math.nan), torch.full_like(energy, math.nan)
        if not math.isnan(threshold):
            iou, iou_chance = overlaps(heat, mask, [threshold])[:, 0], overlap_chance(heat, mask, threshold)
        return torch.stack([energy, area, hit, hit_chance, iou, iou_chance], dim=1)


class RandomisedCheck:
    """Heat of a network beside that of copies with random weights, asked about the class that the network predicts.

    Args:
        network: The trained one.
        methods: M ways to see where it looks.
        draws: How many copies.
    """

    def __init__(self, network: nn.Module, methods: Sequence[HeatMethod], draws: int) -> None:
        self.network, self.methods = network, tuple(methods)
        self._random = [randomised_copy(network, seed) for seed in range(draws)]
        self._columns: list[list[Column]] = [[] for _ in self.methods]

    def add(self, batch: SliceBatch) -> None:
        """Slices, all with a tumour in their mask."""
        classes = answer(self.network, batch).argmax(dim=1)
        area = area_share(batch.mask).cpu().numpy()
        for method, columns in zip(self.methods, self._columns, strict=True):
            heat = method.heat(self.network, batch, classes)
            found = []
            for fresh in self._random:
                other = method.heat(fresh, batch, classes)
                energy = energy_in_mask(other, batch.mask).cpu().numpy()
                found.append([rank_correlation(heat, other), heat_ssim(heat, other), energy, area])
            columns.append(_mean_of_draws(np.array(found)))

    def numbers(self, place: int, table: Predictions, resampling: Resampling) -> dict[str, Any]:
        """Means of one method over the slices where both have heat.

        Returns:
            ``similarity`` (rank correlation) and ``ssim`` with the trained network's heat, ``energy_over_area`` of the
            random weights, ``slices`` and ``draws``.
        """
        columns = dict(zip(SIMILARITIES, np.concatenate(self._columns[place], axis=1), strict=True))
        warm = ~np.isnan(np.stack(list(columns.values()))).any(axis=0)
        means = _intervals(table, columns, warm, resampling)
        kept = {name: means[name] for name in ("similarity", "ssim", "energy_over_area")}
        return kept | {"slices": int(warm.sum()), "draws": len(self._random)}


def _mean_of_draws(values: NDArray[np.float64]) -> Column:
    """Means over the draws that gave a number, NaN where none did: ``(D, M, B)`` to ``(M, B)``."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0).sum(axis=0), known.sum(axis=0).astype(np.float64))


def _intervals(
    table: Predictions, columns: Mapping[str, Column], rows: NDArray[np.bool_], resampling: Resampling
) -> dict[str, dict[str, float]]:
    """Means over some rows with bounds; of what stands in ``CHANCES`` also less its chance, and energy over area."""
    pairs = {name: (measure, CHANCES[measure]) for name, measure in DIFFERENCES.items() if measure in columns}
    if not rows.any():
        names = [*columns, *pairs, "energy_over_area"]
        return {name: dict.fromkeys(("value", "low", "high"), math.nan) for name in names}
    means = family_means(table.family[rows], {name: values[rows] for name, values in columns.items()})

    def statistic(weights: Column) -> Values:
        values = means(weights)
        beyond = {name: values[measure] - values[chance] for name, (measure, chance) in pairs.items()}
        return values | beyond | {"energy_over_area": ratio(values["energy"], values["area"])}

    found = bootstrap(table.take(rows), statistic, resampling)
    return {name: {"value": each.estimate, "low": each.low, "high": each.high} for name, each in found.items()}
