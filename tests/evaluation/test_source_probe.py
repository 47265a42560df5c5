"""Networks that know the source of a slice, and others, by construction. Reference: scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import recall_score, roc_auc_score
from torch import nn

from kdmri_monai.data.taxonomy import CLASSES
from kdmri_monai.evaluation.low_level import FeatureTable
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.resampling import Resampling
from kdmri_monai.evaluation.source_probe import source_controls, source_probe_rows
from kdmri_monai.evaluation.source_recall import source_recall_rows

FEW = Resampling(300)


def gliomas(families=(12, 12), per_family=6, shift=0.0, seed=0, kinds=("", "MR")):
    """Features of gliomas whose first column lies higher for the second source."""
    rng = np.random.default_rng(seed)
    source = np.repeat(np.repeat(np.arange(len(families)), families), per_family)
    number = np.repeat(np.arange(sum(families)), per_family)
    values = rng.normal(size=(sum(families), 5))[number] + 0.3 * rng.normal(size=(len(number), 5))
    values[:, 0] += shift * source
    patient = np.array([f"{kinds[s]}{100 + k}" for s, k in zip(source, number, strict=True)])
    return FeatureTable(
        values, np.ones(len(number), dtype=np.int64), np.arange(len(number)).astype(str), patient, patient
    )


def test_features_that_hold_the_source_are_caught_and_others_are_not():
    area, decisions = source_probe_rows(gliomas(shift=8), FEW)
    assert (area.value, decisions.value) == (1, 1)
    assert (area.metric, decisions.metric) == ("auroc", "balanced_accuracy")
    assert area.caught is decisions.caught is True
    for seed in range(5):
        for row in source_probe_rows(gliomas(seed=seed), FEW):
            assert row.caught is False
            assert row.null_low < 0.5 < row.null_high
            assert row.chance == 0.5


def test_no_family_is_on_both_sides():
    """Features that name the family and nothing else give chance, where a probe by slices would be right."""
    table = gliomas(per_family=20)
    named = np.eye(24)[np.unique(table.family, return_inverse=True)[1]]
    area, decisions = source_probe_rows(FeatureTable(named, table.label, table.id, table.patient, table.family), FEW)
    assert area.value <= 0.5
    assert decisions.value <= 0.5


def test_the_area_is_that_of_scikit_learn():
    """Of one feature every fold's probe keeps the order, so that the folds together nearly do."""
    table = gliomas(shift=2.5, seed=1)
    only = FeatureTable(table.values[:, :1], table.label, table.id, table.patient, table.family)
    expected = roc_auc_score([patient.startswith("MR") for patient in table.patient], table.values[:, 0])
    assert source_probe_rows(only, FEW)[0].value == pytest.approx(expected, abs=0.03)


def test_too_few_families_give_rows_without_numbers_and_the_reason():
    for row in source_probe_rows(gliomas((12, 3)), FEW):
        assert np.isnan([row.value, row.low, row.null_low]).all()
        assert row.caught is None
        assert "there are 3 of MR ids, 12 of numeric ids" in row.explains
    assert not np.isnan(source_probe_rows(gliomas((12, 4)), FEW)[0].value)
    assert np.isnan(source_probe_rows(gliomas((12,)), FEW)[0].value)


def test_of_three_sources_two_are_asked_about_and_families_of_two_sources_are_left_out():
    table = gliomas((8, 10, 6), kinds=("", "MR", "X"))
    assert source_probe_rows(table, FEW)[0].families == 18
    family = table.family.copy()
    family[family == "100"] = "MR110"
    mixed = FeatureTable(table.values, table.label, table.id, table.patient, family)
    assert source_probe_rows(mixed, FEW)[0].families == 7 + 9


class TwoNumbers(nn.Module):
    """Logits from the brightness of the upper half and of the lower half."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(2, 3)

    def forward(self, image):
        return self.last(torch.stack([image[:, 0, :8].mean((1, 2)), image[:, 0, 8:].mean((1, 2))], dim=1))


def slices(told, seed=0, families=24, per_family=3):
    rng = np.random.default_rng(seed)
    number = np.repeat(np.arange(families * 3), per_family)
    label, from_mr = number % 3, (number // 3) % 2 == 1
    image = 0.3 + 0.2 * rng.random((families * 3, 1, 1, 1))[number] + 0.02 * rng.random((len(number), 1, 16, 16))
    if told:
        image[from_mr, :, :8] += 0.3
    else:
        image[label != 1, :, :8] += 0.3 * from_mr[label != 1, None, None, None]  # told among the other classes alone
    patient = [f"MR{k}" if mr else str(k) for k, mr in zip(number, from_mr, strict=True)]
    return {
        "image": torch.from_numpy(image).float(),
        "label": torch.from_numpy(label),
        "mask": torch.zeros(len(number), 1, 16, 16),
        "has_mask": torch.zeros(len(number), dtype=torch.bool),
        "id": [str(k) for k in range(len(number))],
        "patient": patient,
        "family": patient,
    }


def in_batches(data, size=10):
    for at in range(0, len(data["label"]), size):
        yield {key: value[at : at + size] for key, value in data.items()}


def test_the_source_is_asked_among_gliomas_alone():
    for told in (True, False):
        rows = {row.name: row for row in source_controls(TwoNumbers(), in_batches(slices(told)), "cpu", CLASSES, FEW)}
        assert list(rows) == ["source_probe_auroc", "source_probe", "glioma_recall_MR", "glioma_recall_numeric"]
        assert rows["source_probe"].caught is rows["source_probe_auroc"].caught is told
        assert (rows["source_probe"].n, rows["source_probe"].families) == (72, 24)


def test_a_network_without_a_linear_layer_has_recall_and_no_probe():
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    rows = source_controls(network, in_batches(slices(True)), "cpu", CLASSES, FEW)
    assert np.isnan([row.value for row in rows[:2]]).all()
    assert "has no linear layer" in rows[0].explains
    assert not np.isnan([row.value for row in rows[2:]]).any()
    some = {key: value[:2] for key, value in slices(True).items()}
    none = {**some, "label": torch.tensor([0, 2])}
    rows = source_controls(TwoNumbers(), [none], "cpu", CLASSES, FEW)
    assert [row.explains for row in rows] == ["There is no slice of a glioma."] * 2


def answers(seed=0, families=60, recall=(0.9, 0.4)):
    rng = np.random.default_rng(seed)
    number = np.repeat(np.arange(families), 5)
    label, source = number % 3, (number // 3) % 2
    right = rng.random(len(number)) < np.where(label == 1, np.array(recall)[source], 0.8)
    decided = np.where(right, label, (label + rng.integers(1, 3, len(number))) % 3)
    patient = np.array([f"{('MR', '')[s]}{k}" for s, k in zip(source, number, strict=True)])
    return Predictions(np.arange(len(number)).astype(str), patient, patient, label, np.eye(3)[decided], CLASSES)


def test_recall_by_source_is_that_of_scikit_learn_beside_how_often_glioma_is_said():
    table = answers()
    rows = {row.name: row for row in source_recall_rows(table, FEW)}
    for name, is_mr in (("glioma_recall_MR", True), ("glioma_recall_numeric", False)):
        of_source = np.array([patient.startswith("MR") == is_mr for patient in table.patient])
        row = rows[name]
        expected = recall_score(table.label[of_source] == 1, table.prediction[of_source] == 1)
        assert (row.value, row.n, row.families) == (pytest.approx(expected), 50, 10)
        assert row.chance == pytest.approx((table.prediction == 1).mean())
        assert row.null_low < row.chance < row.null_high
        assert row.caught is None
    assert rows["glioma_recall_MR"].low > rows["glioma_recall_MR"].null_high
    assert rows["glioma_recall_MR"].value > rows["glioma_recall_numeric"].value + 0.2


def test_the_range_of_recall_is_that_of_as_many_families_drawn_at_random():
    table = answers(seed=1)
    rng = np.random.default_rng(5)
    families = np.unique(table.family)
    shares = [
        (table.prediction[np.isin(table.family, rng.choice(families, 10, replace=False))] == 1).mean()
        for _ in range(600)
    ]
    row = source_recall_rows(table, Resampling(2000))[0]
    assert [row.null_low, row.null_high] == pytest.approx(np.quantile(shares, (0.025, 0.975)), abs=0.03)


def test_without_a_class_of_gliomas_there_are_no_rows():
    table = answers()
    renamed = Predictions(table.id, table.patient, table.family, table.label, table.probabilities, ("a", "b", "c"))
    assert source_recall_rows(renamed, FEW) == []
