"""Does a network know where a slice comes from? Asked among gliomas alone, for the class would tell it otherwise.

In the Figshare set every id with ``MR`` is a glioma. A network whose features tell such gliomas from those with a
numeric id can use the source in place of the tumour, and finds fewer of the gliomas that come from elsewhere.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import StratifiedGroupKFold
from torch import nn

from kdmri_monai.data.taxonomy import CLASSES
from kdmri_monai.evaluation.control_rows import ControlRow, decision_row, is_caught, undefined_row
from kdmri_monai.evaluation.family_probe import FOLDS, fit_probe, probe_probabilities, rarest
from kdmri_monai.evaluation.intervals import bootstrap
from kdmri_monai.evaluation.low_level import FeatureTable, feature_table
from kdmri_monai.evaluation.metrics_file import id_source
from kdmri_monai.evaluation.penultimate import NoLinearLayer, penultimate_features
from kdmri_monai.evaluation.permutation import label_permutation
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.resampling import Resampling
from kdmri_monai.evaluation.slice_batches import Answers, SliceBatch, answer, read_batch
from kdmri_monai.evaluation.source_recall import GLIOMA, source_recall_rows
from kdmri_monai.evaluation.split_slices import joined
from kdmri_monai.evaluation.statistic import probability_statistic

FEWEST = 4
"""Families of a source below which nothing is asked of it."""
AUROC, BALANCED = "source_probe_auroc", "source_probe"
_TITLES = {
    AUROC: "Source of gliomas from the network's features, ranking",
    BALANCED: "Source of gliomas from the network's features, decisions",
}


def source_controls(
    network: nn.Module,
    batches: Iterable[Mapping[str, Any]],
    device: torch.device | str,
    classes: Sequence[str] = CLASSES,
    resampling: Resampling | None = None,
) -> list[ControlRow]:
    """Whether a network's penultimate features tell the id source of gliomas, and its recall of gliomas by source.

    Args:
        network: Gives logits ``(B, K)``; it is on ``device`` and runs in eval mode.
        batches: Slices that the network has not learned from, as ``read_batch`` takes them.
        device: Where to compute.
        classes: Names of the K classes.
        resampling: Of intervals and permutations; 2,000, 95 %, seed 0 by default.

    Returns:
        Area under the ROC curve and balanced accuracy of the probe, without numbers where it cannot be asked, and the
        rows of ``source_recall_rows``. No rows for other classes than those of the Figshare set, of which alone it is
        known what an id tells.

    Raises:
        ValueError: A batch lacks a key.
        PredictionError: No slices, an id that repeats, or a probability that is not finite.
    """
    if tuple(classes) != CLASSES:
        return []
    asked: list[SliceBatch] = []
    answers = Answers(classes)
    for batch in batches:
        part = read_batch(batch, device)
        answers.add(part, {"intact": answer(network, part)})
        asked.append(part)
    predictions = answers.tables()["intact"]
    return _probe_rows(network, asked, resampling) + source_recall_rows(predictions, resampling)


def _probe_rows(network: nn.Module, parts: Sequence[SliceBatch], resampling: Resampling | None) -> list[ControlRow]:
    number = CLASSES.index(GLIOMA)
    gliomas = [part.take(part.label == number) for part in parts if (part.label == number).any()]
    if not gliomas:
        return _undefined("There is no slice of a glioma.")
    try:
        values = torch.cat([penultimate_features(network, part).double().cpu() for part in gliomas])
    except NoLinearLayer as error:
        return _undefined(f"{error}.", sum(map(len, gliomas)))
    return source_probe_rows(feature_table(joined(gliomas), values.numpy()), resampling)


def source_probe_rows(table: FeatureTable, resampling: Resampling | None = None) -> list[ControlRow]:
    """The rows from features of gliomas, cross-validated by family.

    Of more sources those two are asked about that have the most families; a family of two sources is left out.

    Args:
        table: Features of gliomas; the source is that of the patient's id, see ``id_source``.
        resampling: Of intervals and permutations.
    """
    resampling = resampling or Resampling()
    source = np.array([id_source(patient) for patient in table.patient.tolist()])
    single = np.array([len(np.unique(source[table.family == family])) == 1 for family in table.family])
    families = {str(name): len(np.unique(table.family[single & (source == name)])) for name in np.unique(source)}
    sources = sorted(families, key=lambda name: -families[name])[:2]
    if len(sources) < 2 or families[sources[1]] < FEWEST:
        counts = ", ".join(f"{count} of {name} ids" for name, count in families.items())
        return _undefined(
            f"Two sources of {FEWEST} families of gliomas each are needed, there are {counts}.", len(table)
        )
    sources.sort()
    rows = single & np.isin(source, sources)
    label = (source[rows] == sources[1]).astype(np.int64)
    asked = FeatureTable(table.values[rows], label, table.id[rows], table.patient[rows], table.family[rows])
    predictions = _cross_validated(asked, sources)
    explains = (
        f"Logistic regression on the features that the logits are made of, {families[sources[0]]} families of "
        f"{sources[0]} and {families[sources[1]]} of {sources[1]} ids, gliomas alone, cross-validated by family: above "
        "chance the network carries the source."
    )
    balanced = decision_row(predictions, BALANCED, _TITLES[BALANCED], "network", explains, resampling, judged=True)
    return [_ranking_row(predictions, explains, resampling), balanced]


def _cross_validated(table: FeatureTable, sources: Sequence[str]) -> Predictions:
    folds = StratifiedGroupKFold(min(FOLDS, rarest(table.label, table.family)), shuffle=True, random_state=0)
    probabilities = np.zeros((len(table), len(sources)))
    for learned, asked in folds.split(table.values, table.label, table.family):
        probe = fit_probe(table.values[learned], table.label[learned], table.family[learned])
        probabilities[asked] = probe_probabilities(probe, table.values[asked], len(sources))
    return table.predictions(probabilities, sources)


def _ranking_row(table: Predictions, explains: str, resampling: Resampling) -> ControlRow:
    interval = bootstrap(table, probability_statistic(table), resampling)[f"auroc/{table.classes[1]}"]
    null = label_permutation(table, f"auroc/{table.classes[1]}", resampling)
    return ControlRow(
        name=AUROC,
        title=_TITLES[AUROC],
        group="network",
        value=interval.estimate,
        low=interval.low,
        high=interval.high,
        metric="auroc",
        chance=0.5,
        null_low=null.low,
        null_high=null.high,
        caught=is_caught(interval, null.high),
        n=len(table),
        families=interval.groups,
        explains=explains,
    )


def _undefined(reason: str, slices: int = 0) -> list[ControlRow]:
    return [
        undefined_row(AUROC, _TITLES[AUROC], "network", "auroc", 0.5, reason, slices),
        undefined_row(BALANCED, _TITLES[BALANCED], "network", "balanced_accuracy", 0.5, reason, slices),
    ]
