"""What logistic regression tells from features that know no shape of the tumour.

Size and brightness of a tumour are legitimate cues. So the verdict rests on features outside of the tumour; the same
features of the whole slice stand beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from kdmri_monai.evaluation.control_rows import ControlRow, decision_row, undefined_row
from kdmri_monai.evaluation.erasure import MARGIN
from kdmri_monai.evaluation.family_probe import fit_probe, probe_probabilities, rarest
from kdmri_monai.evaluation.low_level_features import NAMES, low_level_features
from kdmri_monai.evaluation.matched_holes import matched_holes
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.resampling import Resampling
from kdmri_monai.evaluation.slice_batches import Batches, SliceBatch
from kdmri_monai.evaluation.split_slices import whole_split

OUTSIDE, WHOLE = "low_level_outside", "low_level_whole"
_TITLES = {
    OUTSIDE: "Low-level features outside of the tumour",
    WHOLE: "Low-level features of the whole slice",
}
_EXPLAINS = {
    OUTSIDE: "Brightness, air, place of the head, spectrum and noise, learned by logistic regression on the training "
    "split, without the tumour's pixels and those that tumours of the other classes would take, so that the hole tells "
    "nothing: scanner and protocol should not tell the class.",
    WHOLE: "The same with the tumour in the slice, whose size and brightness are legitimate cues.",
}


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """Features of N slices and what is known of them.

    Attributes:
        values: Shape ``(N, F)``.
        label: True class, shape ``(N,)``, int64.
        id: Name of every slice, shape ``(N,)``.
        patient: Its patient.
        family: Its patient family.
    """

    values: NDArray[np.float64]
    label: NDArray[np.int64]
    id: NDArray[np.str_]
    patient: NDArray[np.str_]
    family: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.label)

    def with_label(self, label: NDArray[np.int64]) -> "FeatureTable":
        """The same slices with other classes."""
        return replace(self, label=label)

    def predictions(self, probabilities: NDArray[np.float64], classes: Sequence[str]) -> Predictions:
        """What a probe says of these slices."""
        return Predictions(self.id, self.patient, self.family, self.label, probabilities, tuple(classes))


def feature_table(slices: SliceBatch, values: NDArray[np.float64]) -> FeatureTable:
    """Features ``(N, F)`` of slices beside their names."""
    names = (np.array(column, dtype=np.str_) for column in (slices.id, slices.patient, slices.family))
    return FeatureTable(values, slices.label.cpu().numpy(), *names)


def outside_features(training: SliceBatch, test: SliceBatch, margin: int = MARGIN) -> tuple[FeatureTable, FeatureTable]:
    """Low-level features of the slices that have a mask, without their tumours; see ``matched_holes``.

    Args:
        training: Slices that are learned from, and whose tumours are the places that others lose too.
        test: Slices that are asked about.
        margin: Pixels by which a tumour is taken to be larger than its mask.

    Returns:
        Tables of both, without rows where one of the two has no mask.
    """
    training, test = training.take(training.has_mask), test.take(test.has_mask)
    if not len(training) or not len(test):
        empty = np.zeros((0, len(NAMES)))
        nothing = torch.zeros(0, dtype=torch.long)
        return feature_table(training.take(nothing), empty), feature_table(test.take(nothing), empty)
    learned, asked = (
        feature_table(part, low_level_features(part.image[:, 0].numpy(), matched_holes(part, training, margin, seed)))
        for seed, part in enumerate((training, test))
    )
    return learned, asked


def whole_features(slices: SliceBatch) -> FeatureTable:
    """Low-level features of whole slices."""
    return feature_table(slices, low_level_features(slices.image[:, 0].numpy()))


def low_level_controls(
    batches: Batches, classes: Sequence[str], resampling: Resampling | None = None, margin: int = MARGIN
) -> list[ControlRow]:
    """Rows of the low-level features, learned on the training split, asked on the test split.

    Args:
        batches: Split to batches; ``training`` and ``test`` are asked for.
        classes: Names of the K classes.
        resampling: Of the intervals and of the permutations; 2,000, 95 %, seed 0 by default.
        margin: Pixels by which a tumour is taken to be larger than its mask.

    Returns:
        Two rows: outside of the tumour, which can catch a shortcut, and the whole slice, which cannot. A row without
        numbers where there are too few slices with a mask, or too few families of a class.

    Raises:
        ValueError: A split without slices, a batch that lacks a key.
    """
    resampling = resampling or Resampling()
    training, test = whole_split(batches("training")), whole_split(batches("test"))
    tables = {
        OUTSIDE: outside_features(training, test, margin),
        WHOLE: (whole_features(training), whole_features(test)),
    }
    return [_row(name, *pair, classes, resampling) for name, pair in tables.items()]


def probe_reason(training: FeatureTable, test: FeatureTable) -> str | None:
    """Why a probe cannot be learned from one table and asked about the other, or ``None`` where it can."""
    if not len(training) or not len(test):
        return "No slice of the training or of the test split has a mask, so that no tumour can be left out."
    if len(np.unique(training.label)) < 2 or rarest(training.label, training.family) < 2:
        return "The training split has not two classes of two families each, so that nothing can be learned."
    return None


def probed(training: FeatureTable, test: FeatureTable, classes: Sequence[str]) -> Predictions:
    """What logistic regression learned from one table says of the other.

    Raises:
        ValueError: As ``fit_probe``.
    """
    probe = fit_probe(training.values, training.label, training.family)
    return test.predictions(probe_probabilities(probe, test.values, len(classes)), classes)


def _row(
    name: str, training: FeatureTable, test: FeatureTable, classes: Sequence[str], resampling: Resampling
) -> ControlRow:
    reason = probe_reason(training, test)
    if reason is not None:
        return undefined_row(name, _TITLES[name], "features", "balanced_accuracy", 1 / len(classes), reason)
    table = probed(training, test, classes)
    return decision_row(table, name, _TITLES[name], "features", _EXPLAINS[name], resampling, judged=name == OUTSIDE)
