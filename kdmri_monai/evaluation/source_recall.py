"""Are gliomas found less often where their source does not give them away?

In the Figshare set every id with ``MR`` is a glioma; gliomas with a numeric id share their source with other tumours.
"""

import numpy as np
from numpy.typing import NDArray

from kdmri_monai.data.taxonomy import CLASSES
from kdmri_monai.evaluation.control_rows import ControlRow
from kdmri_monai.evaluation.intervals import bootstrap
from kdmri_monai.evaluation.metrics import ratio
from kdmri_monai.evaluation.metrics_file import id_source
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.resampling import Resampling

GLIOMA = CLASSES[1]


def source_recall_rows(predictions: Predictions, resampling: Resampling | None = None) -> list[ControlRow]:
    """Recall of gliomas by the source of the patient's id.

    Args:
        predictions: Answers to slices of all classes.
        resampling: Of intervals and permutations.

    Returns:
        A row a source, which catch nothing by themselves: chance is how often the network says glioma of as many
        families drawn at random from all classes. None for other classes than those of the Figshare set.
    """
    resampling = resampling or Resampling()
    if tuple(predictions.classes) != CLASSES:
        return []
    number = predictions.classes.index(GLIOMA)
    glioma = predictions.label == number
    source = np.array([id_source(patient) for patient in predictions.patient.tolist()])
    return [
        _recall_row(predictions, glioma & (source == name), number, str(name), resampling)
        for name in np.unique(source[glioma])
    ]


def _recall_row(
    predictions: Predictions, rows: NDArray[np.bool_], glioma: int, source: str, resampling: Resampling
) -> ControlRow:
    table = predictions.take(rows)
    interval = bootstrap(table, resampling=resampling)["accuracy"]
    _, family = np.unique(predictions.family, return_inverse=True)
    said = np.bincount(family, weights=predictions.prediction == glioma)
    generator = np.random.default_rng(resampling.seed)
    among = (np.arange(len(said)) < interval.groups).astype(np.float64)
    chosen = generator.permuted(np.tile(among, (resampling.replicates, 1)), axis=1)
    shares = ratio(chosen @ said, chosen @ np.bincount(family).astype(np.float64))
    tail = (1 - resampling.level) / 2
    null_low, null_high = (float(end) for end in np.quantile(shares, (tail, 1 - tail)))
    return ControlRow(
        name=f"glioma_recall_{source}",
        title=f"Recall of gliomas with {source} ids",
        group="network",
        value=interval.estimate,
        low=interval.low,
        high=interval.high,
        metric="recall",
        chance=float((predictions.prediction == glioma).mean()),
        null_low=null_low,
        null_high=null_high,
        caught=None,
        n=len(table),
        families=interval.groups,
        explains="A network that knows the source of a slice finds fewer of the gliomas whose source they share with "
        "other tumours. Chance: how often it says glioma at all.",
    )
