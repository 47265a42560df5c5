"""What a network's answers rest on: accuracy with the tumour erased, and where the network looks.

All numbers are over the same slices, those with a mask, with intervals over patient families, each beside its chance.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kdmri_monai.data.taxonomy import CLASSES
from kdmri_monai.evaluation.erasure import Fill, erase
from kdmri_monai.evaluation.family_statistics import Column, family_means
from kdmri_monai.evaluation.intervals import Interval, bootstrap, paired_bootstrap
from kdmri_monai.evaluation.localisation import area_share, energy_in_mask, grad_cam, pointing_chance, pointing_game
from kdmri_monai.evaluation.metrics import ratio
from kdmri_monai.evaluation.metrics_file import METHOD, write_metrics
from kdmri_monai.evaluation.predicted_maps import map_quality
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.resampling import Resampling
from kdmri_monai.evaluation.statistic import decision_statistic
from kdmri_monai.networks.dry_run import evaluating
from kdmri_monai.networks.geometry_classifier import GeometryClassifier
from kdmri_monai.networks.tap_spec import TapSpec, as_tap

FORMAT = "kdmri-evidence-1"
NAMES = ("id", "patient", "family")
KEYS = ("image", "label", "mask", "has_mask", *NAMES)
INTACT = "intact"
TOLERANCE = 2.0
MEASURES = ("energy", "area", "mean_ratio", "pointing_game", "pointing_chance", "energy_over_area")


def gather_evidence(
    network: nn.Module,
    batches: Iterable[Mapping[str, Any]],
    device: torch.device | str,
    cam_layer: TapSpec,
    fills: Sequence[Fill] = ("mean", "inpaint"),
    tolerance: float = TOLERANCE,
    classes: Sequence[str] = CLASSES,
    resampling: Resampling | None = None,
) -> dict[str, Any]:
    """Runs a network over slices with and without their tumour, and over its own Grad-CAM.

    Args:
        network: Gives logits ``(B, K)`` for images alone; it is on ``device`` and runs in eval mode.
        batches: ``image`` ``(B, 1, H, W)``, ``label`` ``(B,)``, ``mask`` ``(B, 1, H, W)``, ``has_mask`` ``(B,)`` and
            lists of str ``id``, ``patient``, ``family``. Slices without mask are left out and counted.
        device: Where to compute.
        cam_layer: Layer of Grad-CAM, as for ``grad_cam``; the heat is that of the predicted class.
        fills: What the erased tumour is replaced by, see ``erase``.
        tolerance: Of the pointing game, pixels.
        classes: Names of the K classes.
        resampling: How the intervals are found; 2,000 replicates, 95 %, seed 0 by default.

    Returns:
        ``slices``, ``families`` and ``without_mask``, counts; ``intact``, and ``erased`` by fill, each with
        ``balanced_accuracy`` and mean ``confidence`` (largest probability), and for a fill ``difference``, its balanced
        accuracy minus the intact one's, paired; ``chance`` of the balanced accuracy; ``grad_cam`` with counts
        ``slices`` and ``without_heat`` (all its numbers are over the former) and means of ``energy``, its chance
        ``area``, ``energy_over_area`` (the ratio of the two means), ``mean_ratio`` (the mean of the ratios of the
        slices), ``pointing_game`` and ``pointing_chance``. For a student with a geometry head ``predicted_mask`` too,
        with ``dice`` and ``peak_inside`` (share of slices whose highest place lies in the tumour) beside the latter's
        chance ``area``. A number is ``{"value", "low", "high"}``.

    Raises:
        ValueError: A batch lacks a key, no slice has a mask, another number of classes, or as ``erase``, ``grad_cam``.
        PredictionError: An id repeats, or a probability is not finite.
    """
    resampling, tap = resampling or Resampling(), as_tap(cam_layer)
    slices = _Slices()
    for batch in batches:
        missing = [key for key in KEYS if key not in batch]
        if missing:
            raise ValueError(f"evidence needs {', '.join(missing)} in every batch, got {', '.join(map(str, batch))}")
        slices.add(network, batch, device, tap, fills, tolerance)
    tables = slices.tables(tuple(classes))
    intact = tables.pop(INTACT)
    return {
        "format": FORMAT,
        "classes": list(classes),
        "interval": {"method": METHOD, "level": resampling.level, "replicates": resampling.replicates,
                     "seed": resampling.seed},
        "slices": len(intact),
        "families": len(np.unique(intact.family)),
        "without_mask": slices.without_mask,
        "chance": 1 / len(np.unique(intact.label)),
        INTACT: _decisions(intact, resampling),
        "erased": {
            fill: _decisions(table, resampling)
            | {"difference": _bounds(paired_bootstrap(table, intact, resampling)["balanced_accuracy"])}
            for fill, table in tables.items()
        },
        "grad_cam": _localisation(intact, slices.located(), resampling)
        | {"layer": tap.label, "tolerance": tolerance},
        **slices.predicted_mask(intact, resampling),
    }  # fmt: skip


def write_evidence(path: Path, result: Mapping[str, Any], provenance: Mapping[str, Any] | None = None) -> None:
    """Writes what ``gather_evidence`` returns as JSON, NaN as null; a file that is there stays whole until then.

    Arguments and errors as for ``write_metrics``.
    """
    write_metrics(result, path, provenance)


class _Slices:
    """Numbers of the slices with a mask, batch by batch."""

    def __init__(self) -> None:
        self.without_mask = 0
        self._names: dict[str, list[str]] = {name: [] for name in NAMES}
        self._label: list[Tensor] = []
        self._probabilities: dict[str, list[Tensor]] = {}
        self._located: list[Tensor] = []
        self._mapped: list[Tensor] = []

    def add(
        self,
        network: nn.Module,
        batch: Mapping[str, Any],
        device: torch.device | str,
        tap: TapSpec,
        fills: Sequence[Fill],
        tolerance: float,
    ) -> None:
        has_mask = torch.as_tensor(batch["has_mask"]).reshape(-1).bool().cpu()
        rows = has_mask.nonzero().flatten()
        self.without_mask += len(has_mask) - len(rows)
        if not len(rows):
            return
        image, mask = (_plain(batch[key])[rows].to(device).float() for key in ("image", "mask"))
        self._label.append(_plain(batch["label"]).reshape(-1)[rows].long())
        for name, kept in self._names.items():
            kept += [str(batch[name][row]) for row in rows.tolist()]
        heat = grad_cam(network, image, tap)
        chance = area_share(mask), pointing_chance(mask, tolerance)
        located = energy_in_mask(heat, mask), chance[0], pointing_game(heat, mask, tolerance), chance[1]
        self._located.append(torch.stack(located, dim=1).cpu())
        with evaluating(network), torch.no_grad():
            shown: dict[str, Tensor] = {INTACT: image} | {fill: erase(image, mask, fill) for fill in fills}
            for name, images in shown.items():
                probabilities = network(images).double().softmax(dim=1).cpu()
                self._probabilities.setdefault(name, []).append(probabilities)
            if isinstance(network, GeometryClassifier) and network.head is not None:
                quality = map_quality(network.predict_geometry(image).mask, mask)
                self._mapped.append(torch.stack([*quality, chance[0]], dim=1).cpu().double())

    def tables(self, classes: tuple[str, ...]) -> dict[str, Predictions]:
        if not self._label:
            raise ValueError(f"none of the {self.without_mask} slices has a mask, so nothing can be erased or located")
        names = {name: np.array(values, dtype=np.str_) for name, values in self._names.items()}
        label = torch.cat(self._label).numpy()
        probabilities = {name: torch.cat(parts).numpy() for name, parts in self._probabilities.items()}
        return {
            name: Predictions(**names, label=label, probabilities=values, classes=classes)
            for name, values in probabilities.items()
        }

    def located(self) -> Column:
        """Energy, area, hit and chance of a hit of every slice, shape ``(N, 4)``."""
        located: Column = torch.cat(self._located).numpy()
        return located

    def predicted_mask(self, table: Predictions, resampling: Resampling) -> dict[str, Any]:
        """Quality of the predicted masks, where there are any."""
        if not self._mapped:
            return {}
        columns = dict(zip(("dice", "peak_inside", "area"), torch.cat(self._mapped).numpy().T, strict=True))
        intervals = bootstrap(table, family_means(table.family, columns), resampling)
        return {"predicted_mask": {name: _bounds(interval) for name, interval in intervals.items()}}


def _plain(value: Any) -> Tensor:
    """A tensor without MONAI's metadata, on the CPU."""
    tensor = torch.as_tensor(value)
    return tensor.as_subclass(Tensor).detach().cpu()


def _decisions(table: Predictions, resampling: Resampling) -> dict[str, Any]:
    confidence = family_means(table.family, {"confidence": table.probabilities.max(axis=1)})
    decided = decision_statistic(table)
    found = bootstrap(table, lambda weights: decided(weights) | confidence(weights), resampling)
    return {name: _bounds(found[name]) for name in ("balanced_accuracy", "confidence")}


def _localisation(table: Predictions, located: Column, resampling: Resampling) -> dict[str, Any]:
    warm = ~np.isnan(located[:, 0])
    counts = {"slices": int(warm.sum()), "without_heat": int((~warm).sum())}
    if not warm.any():
        return counts | {name: dict.fromkeys(("value", "low", "high"), math.nan) for name in MEASURES}
    energy, area, hit, chance = located[warm].T
    columns = (energy, area, energy / area, hit, chance)
    means = family_means(table.family[warm], dict(zip(MEASURES, columns, strict=False)))

    def statistic(weights: Column) -> dict[str, Column]:
        values = means(weights)
        return values | {MEASURES[-1]: ratio(values["energy"], values["area"])}

    intervals = bootstrap(table.take(warm), statistic, resampling)
    return counts | {name: _bounds(interval) for name, interval in intervals.items()}


def _bounds(interval: Interval) -> dict[str, float]:
    return {"value": interval.estimate, "low": interval.low, "high": interval.high}
