"""How well a student with a geometry head sees the tumour, with intervals."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdmri_monai.data.taxonomy import CLASSES
from kdmri_monai.evaluation.family_statistics import family_means
from kdmri_monai.evaluation.intervals import bootstrap
from kdmri_monai.evaluation.localisation import area_share
from kdmri_monai.evaluation.predicted_maps import map_quality
from kdmri_monai.evaluation.prediction_pictures import sees_geometry
from kdmri_monai.evaluation.resampling import Resampling
from kdmri_monai.evaluation.slice_batches import Answers, answer, read_batch
from kdmri_monai.networks.dry_run import evaluating
from kdmri_monai.networks.geometry_classifier import GeometryClassifier

MEASURES = ("dice", "peak_inside", "area")


def predicted_mask(
    network: nn.Module,
    batches: Iterable[Mapping[str, Any]],
    device: torch.device | str,
    classes: Sequence[str] = CLASSES,
    resampling: Resampling | None = None,
) -> dict[str, Any]:
    """Overlap of the predicted tumour with the true one.

    Args:
        network: On ``device``.
        batches: As ``read_batch`` takes them. Slices without mask are left out.
        device: Where to compute.
        classes: Names of the K classes.
        resampling: How the intervals are found; 2,000 replicates, 95 %, seed 0 by default.

    Returns:
        ``slices``, ``dice``, ``peak_inside`` (share of slices whose highest place lies in the tumour) and the latter's
        chance ``area``; ``{"skipped": reason}`` for a network without a geometry head, or slices without masks.

    Raises:
        ValueError: A batch lacks a key.
    """
    if not isinstance(network, GeometryClassifier) or not sees_geometry(network):
        return {"skipped": f"{type(network).__name__} predicts no tumour"}
    answers, found = Answers(classes), []
    for batch in batches:
        slices = read_batch(batch, device)
        slices = slices.take(slices.has_mask)
        if not len(slices):
            continue
        with evaluating(network), torch.no_grad():
            predicted = network.predict_geometry(slices.image).mask
        found.append(torch.stack([*map_quality(predicted, slices.mask), area_share(slices.mask)], dim=1).cpu().double())
        answers.add(slices, {"": answer(network, slices)})
    if not found:
        return {"skipped": "no slice has a mask"}
    table = answers.tables()[""]
    columns: Tensor = torch.cat(found)
    means = family_means(table.family, dict(zip(MEASURES, columns.numpy().T, strict=True)))
    intervals = bootstrap(table, means, resampling)
    numbers = {name: {"value": one.estimate, "low": one.low, "high": one.high} for name, one in intervals.items()}
    return {"slices": len(table), **numbers}
