"""Permuted labels leave nothing to be told, unless slices of one family are on both sides of the split."""

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier

from kdmri_monai.evaluation.low_level import FeatureTable
from kdmri_monai.evaluation.permuted_labels import (
    permuted_network_row,
    permuted_training_control,
    permuted_training_row,
)
from kdmri_monai.evaluation.resampling import Resampling

FEW = Resampling(300)
CLASSES = ("a", "b", "c")


def families_of_their_own(families=45, per_family=6, told=False, seed=0):
    """Features that tell one family from another, and the class only with ``told``."""
    rng = np.random.default_rng(seed)
    number = np.repeat(np.arange(families), per_family)
    label = number % 3
    values = rng.normal(size=(families, 20))[number] + 0.1 * rng.normal(size=(len(number), 20))
    if told:
        values[:, :3] += 5 * np.eye(3)[label]
    names = [column.astype(str) for column in (np.arange(len(number)), number, number)]
    return FeatureTable(values, label, *names)


def parted(table, first):
    """Rows where ``first`` is true, and the others."""
    columns = ("values", "label", "id", "patient", "family")
    return [FeatureTable(*(getattr(table, name)[rows] for name in columns)) for rows in (first, ~first)]


def by_family(table):
    return parted(table, table.family.astype(int) % 5 < 3)


def by_slice(table):
    return parted(table, np.arange(len(table)) % 5 < 3)


def nearest(training, test, classes):
    model = KNeighborsClassifier(1).fit(training.values, training.label)
    return test.predictions(np.eye(len(classes))[model.predict(test.values)], classes)


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_a_split_by_family_is_at_chance(told, seed):
    row = permuted_training_row(*by_family(families_of_their_own(told=told, seed=seed)), CLASSES, FEW)
    assert row.caught is False
    assert row.low < row.chance < row.high
    assert row.null_low < 1 / 3 < row.null_high


@pytest.mark.parametrize("fit", [None, nearest])
def test_a_split_by_slice_is_caught_although_no_label_means_anything(fit):
    more = {} if fit is None else {"fit": fit}
    row = permuted_training_row(*by_slice(families_of_their_own()), CLASSES, FEW, **more)
    assert row.caught is True
    assert row.value > (0.5 if fit is None else 0.99)


def test_a_single_family_on_both_sides_is_too_little_to_be_caught_and_half_of_them_is_enough():
    table = families_of_their_own()
    training, test = by_family(table)
    for share, caught in ((1, False), (9, True)):
        leaked = np.isin(test.family, np.unique(test.family)[:share])
        rows = np.flatnonzero(leaked)[::2]
        columns = ("values", "label", "id", "patient", "family")
        both = [np.concatenate([getattr(training, name), getattr(test, name)[rows]]) for name in columns]
        asked = FeatureTable(*(np.delete(getattr(test, name), rows, axis=0) for name in columns))
        assert permuted_training_row(FeatureTable(*both), asked, CLASSES, FEW, fit=nearest).caught is caught


def test_every_family_keeps_one_label_and_the_labels_stay_as_many():
    training, test = by_slice(families_of_their_own())
    seen = []

    def look(learned, asked, classes):
        family, label = (
            np.concatenate([getattr(part, name) for part in (learned, asked)]) for name in ("family", "label")
        )
        pairs = sorted(set(zip(family.tolist(), label.tolist(), strict=True)))
        assert len(pairs) == 45
        assert np.bincount([label for _, label in pairs]).tolist() == [15, 15, 15]
        seen.append(tuple(label for _, label in pairs))
        return nearest(learned, asked, classes)

    permuted_training_row(training, test, CLASSES, FEW, draws=4, fit=look)
    assert len(set(seen)) == 4
    with pytest.raises(ValueError, match="draws is 1, at least 2"):
        permuted_training_row(training, test, CLASSES, FEW, draws=1)


def test_the_mean_has_the_interval_and_the_null_range_of_independent_draws():
    """A learner that always answers alike: the mean of d scores of chance spreads as one score over sqrt(d)."""
    training, test = by_family(families_of_their_own(families=90))
    rng = np.random.default_rng(0)
    fixed = np.eye(3)[rng.integers(0, 3, 90)[test.family.astype(int)]]

    def answer(_, asked, classes):
        return asked.predictions(fixed, classes)

    widths = {}
    for draws in (2, 8, 32):
        row = permuted_training_row(training, test, CLASSES, FEW, draws, answer)
        widths[draws] = row.null_high - row.null_low
    assert widths[2] / widths[8] == pytest.approx(2, rel=0.15)
    assert widths[8] / widths[32] == pytest.approx(2, rel=0.15)
    scores = [
        permuted_training_row(training, test, CLASSES, Resampling(2, seed=s), 2, answer).value for s in range(200)
    ]
    assert np.std(scores) * 2 * 1.96 == pytest.approx(widths[2], rel=0.25)


def test_from_slices_of_a_loader():
    rng = np.random.default_rng(0)

    def slices(families, first, masked=True):
        number = np.repeat(np.arange(families), 3)
        image = 0.02 * rng.random((len(number), 1, 32, 32))
        image[:, :, 6:26, 6:26] += 0.4 + 0.2 * rng.random((families, 1, 1, 1))[number]
        mask = np.zeros_like(image)
        mask[:, :, 12:16, 12:16] = masked
        return {
            "image": torch.from_numpy(image).float(),
            "label": torch.from_numpy(number % 3),
            "mask": torch.from_numpy(mask).float(),
            "has_mask": torch.full((len(number),), masked),
            **{name: [f"{name}{first + k}" for k in (np.arange(len(number)) if name == "id" else number)]
               for name in ("id", "patient", "family")},
        }  # fmt: skip

    for masked in (True, False):
        sets = {"training": slices(18, 0, masked), "test": slices(12, 100, masked)}
        row = permuted_training_control(lambda split, sets=sets: [sets[split]], CLASSES, FEW, draws=4)
        assert (row.name, row.n, row.families, row.caught) == ("permuted_training", 36, 12, False)
    sets = {"training": slices(2, 0), "test": slices(12, 100)}
    row = permuted_training_control(lambda split: [sets[split]], CLASSES, FEW)
    assert np.isnan(row.value)
    assert "two classes of two families" in row.explains


def test_the_networks_row_has_its_score_beside_the_range_for_permuted_labels(make_predictions):
    for found, p in (((0.8, 0.9, 0.85), 0.01), ((1 / 3, 1 / 3, 1 / 3), None)):
        table = make_predictions(found=found, seed=3)
        row = permuted_network_row(table, FEW)
        assert row.value == pytest.approx(balanced_accuracy_score(table.label, table.prediction))
        assert row.caught is None
        assert (row.value > row.null_high) == (p is not None)
        assert "p = 0.0" in row.explains if p else "p = 0.0" not in row.explains
