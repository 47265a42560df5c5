"""Controls of the procedure itself: labels permuted over patient families must leave nothing to be told.

A network's decisions against permuted labels give the range that chance has for them. A probe that is trained on
permuted labels gives more: every family keeps its permuted label on both sides, so that a procedure which lets slices
of one family into training and test recognises the family and scores above chance, although no label means anything.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

from kdmri_monai.evaluation.control_rows import ControlRow, decision_row, undefined_row
from kdmri_monai.evaluation.low_level import FeatureTable, outside_features, probe_reason, probed, whole_features
from kdmri_monai.evaluation.metrics import balanced_accuracy, confusion_matrix
from kdmri_monai.evaluation.permutation import NullRange, label_permutation
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.resampling import Resampling
from kdmri_monai.evaluation.slice_batches import Batches
from kdmri_monai.evaluation.split_slices import whole_split

DRAWS = 10
NETWORK, RETRAINED = "permuted_labels", "permuted_training"
_TITLES = {
    NETWORK: "Network's answers against permuted labels",
    RETRAINED: "Low-level features, trained on permuted labels",
}

Fit = Callable[[FeatureTable, FeatureTable, Sequence[str]], Predictions]
"""Learns from the first table and answers for the second."""


def permuted_network_row(predictions: Predictions, resampling: Resampling | None = None) -> ControlRow:
    """The network's balanced accuracy beside what its answers reach with labels permuted over families.

    Args:
        predictions: Its answers to all slices of a split.
        resampling: Of the interval and of the permutations; 2,000, 95 %, seed 0 by default.

    Returns:
        A row that catches nothing: a good network lies above the range of chance, an untrained one within it.
    """
    resampling = resampling or Resampling()
    null = label_permutation(predictions, "balanced_accuracy", resampling)
    explains = (
        "Chance for these answers: every family is given the label of another one drawn at random. "
        f"Mean of the permutations {null.mean:.2f}, p = {null.p:.4f}."
    )
    return decision_row(predictions, NETWORK, _TITLES[NETWORK], "labels", explains, resampling, judged=False)


def permuted_training_control(
    batches: Batches, classes: Sequence[str], resampling: Resampling | None = None, draws: int = DRAWS
) -> ControlRow:
    """The low-level probe learned and tested anew on permuted labels; see ``permuted_training_row``.

    Args:
        batches: Split to batches; ``training`` and ``test`` are asked for. Tumours are left out where there are masks.
        classes: Names of the K classes.
        resampling: Of the permutations.
        draws: Number of permutations that are learned.

    Raises:
        ValueError: A split without slices, a batch that lacks a key, fewer than two draws.
    """
    training, test = whole_split(batches("training")), whole_split(batches("test"))
    tables = outside_features(training, test)
    if not len(tables[0]):
        tables = whole_features(training), whole_features(test)
    return permuted_training_row(*tables, classes, resampling, draws)


def permuted_training_row(
    training: FeatureTable,
    test: FeatureTable,
    classes: Sequence[str],
    resampling: Resampling | None = None,
    draws: int = DRAWS,
    fit: Fit = probed,
) -> ControlRow:
    """Mean balanced accuracy of a learner over several permutations of the labels of all families, training and test.

    Args:
        training: What is learned from.
        test: What is asked.
        classes: Names of the K classes.
        resampling: Number and seed of the permutations of the null range, and level of the interval.
        draws: Number of permutations that are learned, at least 2.
        fit: The learner; logistic regression with its strength chosen by families by default.

    Returns:
        The mean with a t interval over the draws, beside the range of the mean of as many scores when the test labels
        are permuted once more. Caught means that slices leak between training and test.

    Raises:
        ValueError: Fewer than two draws.
    """
    if draws < 2:
        raise ValueError(f"draws is {draws}, at least 2 are needed")
    resampling = resampling or Resampling()
    reason = probe_reason(training, test)
    if reason is not None:
        return undefined_row(RETRAINED, _TITLES[RETRAINED], "labels", "balanced_accuracy", 1 / len(classes), reason)
    generator = np.random.default_rng(resampling.seed)
    drawn = [_permuted(training, test, generator) for _ in range(draws)]
    drawn = [pair for pair in drawn if probe_reason(*pair) is None]
    if len(drawn) < 2:
        reason = "Too few families: hardly a permutation leaves two families of a class to learn from."
        return undefined_row(RETRAINED, _TITLES[RETRAINED], "labels", "balanced_accuracy", 1 / len(classes), reason)
    draws = len(drawn)
    tables = [fit(*pair, classes) for pair in drawn]
    scores = np.array([_score(table) for table in tables])
    spread = stats.t.ppf((1 + resampling.level) / 2, draws - 1) * scores.std(ddof=1) / np.sqrt(draws)
    null_low, null_high = _null_of_mean([label_permutation(table, "balanced_accuracy", resampling) for table in tables])
    return ControlRow(
        name=RETRAINED,
        title=_TITLES[RETRAINED],
        group="labels",
        value=float(scores.mean()),
        low=float(scores.mean() - spread),
        high=float(scores.mean() + spread),
        metric="balanced_accuracy",
        chance=float(np.mean([1 / len(np.unique(table.label)) for table in tables])),
        null_low=null_low,
        null_high=null_high,
        caught=bool(scores.mean() - spread > null_high),
        n=len(test),
        families=len(np.unique(test.family)),
        explains=f"Mean of {draws} permutations of the labels over all families, learned anew each time. Above chance, "
        "slices of one family would be on both sides of the split.",
    )


def _permuted(
    training: FeatureTable, test: FeatureTable, generator: np.random.Generator
) -> tuple[FeatureTable, FeatureTable]:
    """Both tables with the labels of their families permuted, one label a family wherever it stands."""
    family = np.concatenate([training.family, test.family])
    label = np.concatenate([training.label, test.label])
    _, first, row = np.unique(family, return_index=True, return_inverse=True)
    drawn = generator.permutation(label[first])[row]
    return training.with_label(drawn[: len(training)]), test.with_label(drawn[len(training) :])


def _null_of_mean(nulls: Sequence[NullRange]) -> tuple[float, float]:
    """Range of the mean of independent scores, each with its own range of chance, as for normal ones."""
    centre = float(np.mean([null.mean for null in nulls]))
    below, above = (
        float(np.sqrt(np.sum([(end - null.mean) ** 2 for end, null in pairs])) / len(nulls))
        for pairs in ([(null.low, null) for null in nulls], [(null.high, null) for null in nulls])
    )
    return centre - below, centre + above


def _score(table: Predictions) -> float:
    return float(balanced_accuracy(confusion_matrix(table.label, table.prediction, len(table.classes))))
