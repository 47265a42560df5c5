"""What a network loses under corruptions that its training did not see in this form.

Source: Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations", ICLR
2019, section 4.2. Differs: what is lost is told of the balanced accuracy above chance, so that a network that often
errs does not seem robust because it has little to lose; ``relative_degradations`` sets it against a baseline.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import nan
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from kdmri_monai.data.taxonomy import CLASSES
from kdmri_monai.evaluation.corruptions import CORRUPTIONS, SEVERITIES, Corruption, corrupt
from kdmri_monai.evaluation.intervals import Interval, bootstrap
from kdmri_monai.evaluation.metrics import ratio
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.resampling import Resampling
from kdmri_monai.evaluation.slice_batches import Answers, answer, read_batch
from kdmri_monai.evaluation.statistic import Statistic, Values, decision_statistic

INTACT = "intact"
METRIC = "balanced_accuracy"
MEAN = "mean"


def robustness(
    network: nn.Module,
    batches: Iterable[Mapping[str, Any]],
    device: torch.device | str,
    classes: Sequence[str] = CLASSES,
    resampling: Resampling | None = None,
    corruptions: Sequence[Corruption] = CORRUPTIONS,
    seed: int = 0,
) -> dict[str, Any]:
    """Balanced accuracy under every corruption at every severity.

    Args:
        network: On ``device``. One that is given masks gets them moved where the head moves.
        batches: As ``read_batch`` takes them; every batch is read once.
        device: Where to compute.
        classes: Names of the K classes.
        resampling: How the intervals are found; 2,000 replicates, 95 %, seed 0 by default.
        corruptions: Which.
        seed: Of what chance decides in the corruptions, the same for every network.

    Returns:
        The section ``robustness``: ``slices``, ``families``, ``seed``, ``chance``; ``intact``, balanced accuracy;
        ``corruptions``, each with ``name``, ``title``, ``unit``, ``parameters``, ``balanced_accuracy`` by severity and
        ``relative_degradation``, the mean over severities of what is lost, as a share of what intact slices give above
        chance; ``mean_relative_degradation`` over the corruptions. Numbers are ``{"value", "low", "high"}``.

    Raises:
        ValueError: No slices, a batch lacks a key, or images outside 0..1.
        PredictionError: An id repeats, or a probability is not finite.
    """
    answers = Answers(classes)
    for batch in batches:
        slices = read_batch(batch, device)
        logits = {INTACT: answer(network, slices)}
        for corruption in corruptions:
            for severity in SEVERITIES:
                shown = corrupt(slices, corruption, severity, seed)
                logits[_key(corruption, severity)] = answer(network, shown)
        answers.add(slices, logits)
    if not len(answers):
        raise ValueError("there are no slices to corrupt")
    tables = answers.tables()
    intact = tables[INTACT]
    found = bootstrap(intact, _statistic(tables, corruptions), resampling)
    return {
        "slices": len(intact),
        "families": len(np.unique(intact.family)),
        "seed": seed,
        "chance": 1 / len(np.unique(intact.label)),
        "intact": _num(found[INTACT]),
        "corruptions": [
            {
                "name": one.name,
                "title": one.title,
                "unit": one.unit,
                "parameters": list(one.parameters),
                "balanced_accuracy": [_num(found[_key(one, severity)]) for severity in SEVERITIES],
                "relative_degradation": _num(found[one.name]),
            }
            for one in corruptions
        ],
        "mean_relative_degradation": _num(found[MEAN]),
    }


def relative_degradations(sections: Mapping[str, Mapping[str, Any]], baseline: str) -> dict[str, dict[str, float]]:
    """Degradation of every network as a multiple of the baseline's, by corruption and on average.

    Source: Hendrycks and Dietterich, ICLR 2019, equation of the mean corruption error.

    Args:
        sections: Results of ``robustness`` by name of the run, over the same slices.
        baseline: Name of the run that counts as 1.

    Returns:
        By run, and by name of the corruption and ``mean``; NaN where the baseline loses nothing.

    Raises:
        ValueError: The baseline is not among the runs.
    """
    if baseline not in sections:
        raise ValueError(f"baseline is {baseline!r}, the runs are {', '.join(sections)}")
    reference = _degradations(sections[baseline])
    return {
        run: {
            name: value / reference[name] if reference.get(name, nan) > 0 else nan
            for name, value in _degradations(section).items()
        }
        for run, section in sections.items()
    }


def _degradations(section: Mapping[str, Any]) -> dict[str, float]:
    found = {one["name"]: one["relative_degradation"]["value"] for one in section["corruptions"]}
    found[MEAN] = section["mean_relative_degradation"]["value"]
    return {name: nan if value is None else float(value) for name, value in found.items()}


def _key(corruption: Corruption, severity: int) -> str:
    return f"{corruption.name}/{severity}"


def _statistic(tables: Mapping[str, Predictions], corruptions: Sequence[Corruption]) -> Statistic:
    """Balanced accuracies and degradations as functions of how often every family counts."""
    statistics = {name: decision_statistic(table) for name, table in tables.items()}
    chance = 1 / len(np.unique(tables[INTACT].label))

    def statistic(weights: NDArray[np.float64]) -> Values:
        values = {name: of(weights)[METRIC] for name, of in statistics.items()}
        above = values[INTACT] - chance
        lost = {}
        for one in corruptions:
            kept = np.mean([values[_key(one, severity)] for severity in SEVERITIES], axis=0)
            lost[one.name] = ratio(values[INTACT] - kept, above)
        return values | lost | {MEAN: np.mean(list(lost.values()), axis=0)}

    return statistic


def _num(interval: Interval) -> dict[str, float]:
    return {"value": interval.estimate, "low": interval.low, "high": interval.high}
