"""The trust profile of a run: features and traits of its training slices, limits from its validation families."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kdmri_monai.data.datalist import load_split, read_datalist
from kdmri_monai.data.store import open_store, split_reference
from kdmri_monai.evaluation.penultimate import NoLinearLayer, penultimate_features
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.run_temperature import RunTemperature
from kdmri_monai.evaluation.slice_batches import Answers, answer, read_batch
from kdmri_monai.evaluation.subject import Subject, file_digest, open_run
from kdmri_monai.evaluation.temperature import scaled
from kdmri_monai.sharing.trust_distances import Gaussians, fit_gaussians, mahalanobis, unit_length
from kdmri_monai.sharing.trust_limits import confidence_limit, family_weights, usual_ranges, weighted_quantile
from kdmri_monai.sharing.trust_profile import DistanceLimits, TrustProfile
from kdmri_monai.sharing.trust_traits import NARROWEST, WORDS, traits

logger = logging.getLogger(__name__)

Array = NDArray[np.float64]
FEW = 5
"""Families of a class below which its mean feature says much of each of them."""


@dataclass(frozen=True, eq=False)
class _Split:
    """What is kept of one split; features are ``None`` where the network has no linear layer that gives the logits."""

    table: Predictions
    features: Array | None
    traits: dict[str, Array]
    weights: Array


def fit_trust(run: Path, device: torch.device | str = "cpu") -> TrustProfile:
    """The profile of a run, whose dataset is still where the run found it.

    Features are those of training slices; limits are quantiles of validation slices, every family counted alike
    (``trust_limits``). Test slices are not looked at. The configuration of the run is parsed, which runs code that it
    names: fit runs that you trust.

    Args:
        run: Folder that ``python -m monai.bundle run training`` left.
        device: Where to compute.

    Raises:
        FileNotFoundError: The run, its weights or its dataset are missing.
        ValueError: The dataset is not the one that the run was trained with, or has no validation slices; a teacher
            that wants masks.
    """
    subject = open_run(run, torch.device(device))
    if subject.sees_mask or subject.checkpoint is None or subject.datalist is None:
        raise ValueError(
            f"{run} is the run of a teacher that is given masks: pictures alone cannot be compared with it"
        )
    training, validation = (_split(subject, name) for name in ("training", "validation"))
    temperature = RunTemperature(run, device=device).value
    gaussians, distance = _distances(training, validation)
    smallest_side, longest_aspect = _sizes(subject.datalist)
    return TrustProfile(
        gaussians=gaussians,
        distance=distance,
        traits=usual_ranges(training.traits, training.weights, validation.traits, validation.weights, NARROWEST),
        confidence=confidence_limit(scaled(validation.table, temperature)),
        smallest_side=smallest_side,
        longest_aspect=longest_aspect,
        store_size=int(read_datalist(subject.datalist)["preparation"]["store_size"]),
        classes=subject.classes,
        weights_sha256=file_digest(subject.checkpoint),
        counts={
            "training": _counts(training.table),
            "validation": _counts(validation.table),
            "training_families": _families_by_class(training.table),
        },
    )


def _split(subject: Subject, name: str) -> _Split:
    entries = load_split(Path(str(subject.datalist)), name)
    if not entries:
        raise ValueError(f"{subject.datalist} has no {name} slices: without them no limits are known")
    answers, found = Answers(subject.classes), []
    for batch in subject.batches(name):
        slices = read_batch(batch, subject.device)
        answers.add(slices, {"": answer(subject.network, slices)})
        try:
            found.append(penultimate_features(subject.network, slices).double().cpu().numpy())
        except NoLinearLayer as error:
            logger.warning("no feature distance: %s", error)
    table = answers.tables()[""]
    return _Split(table, np.concatenate(found) if found else None, _traits(entries), family_weights(table.family))


def _traits(entries: Sequence[Mapping[str, Any]]) -> dict[str, Array]:
    found = []
    for entry in entries:
        path, row = split_reference(entry["image"])
        found.append(traits(np.asarray(open_store(path)[row])))
    return {name: np.array([one[name] for one in found]) for name in WORDS}


def _distances(training: _Split, validation: _Split) -> tuple[Gaussians | None, DistanceLimits | None]:
    if training.features is None or validation.features is None:
        return None, None
    gaussians = _as_stored(fit_gaussians(unit_length(training.features), training.table.label))
    found = mahalanobis(unit_length(validation.features), gaussians)
    for name, families in _families_by_class(training.table).items():
        if families < FEW:
            logger.warning("the mean feature of %s in the trust profile is that of %d families", name, families)
    shares = (0.5, 0.95, 0.99)
    return gaussians, DistanceLimits(*(weighted_quantile(found, validation.weights, share) for share in shares))


def _as_stored(fit: Gaussians) -> Gaussians:
    """The numbers as float32 keeps them, so that limits are those of the file."""

    def kept(part: Array) -> Array:
        return part.astype(np.float32).astype(np.float64)

    return Gaussians(kept(fit.means), kept(fit.basis), kept(fit.variances), float(np.float32(fit.rest)))


def _sizes(datalist: Path) -> tuple[int | None, float | None]:
    sizes = [entry["size"] for entry in read_datalist(datalist)["training"] if "size" in entry]
    if not sizes:
        return None, None
    return min(map(min, sizes)), max(max(size) / min(size) for size in sizes)


def _counts(table: Predictions) -> dict[str, int]:
    return {"slices": len(table), "families": len(np.unique(table.family))}


def _families_by_class(table: Predictions) -> dict[str, int]:
    pairs = Counter(label for label, _ in set(zip(table.label.tolist(), table.family.tolist(), strict=True)))
    return {name: pairs[label] for label, name in enumerate(table.classes)}
