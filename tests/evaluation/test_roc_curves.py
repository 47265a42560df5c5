"""ROC curves against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import auc, roc_auc_score
from sklearn.metrics import roc_curve as reference_curve

from kdmri_monai.evaluation.intervals import bootstrap
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.resampling import Resampling, family_classes, family_weights
from kdmri_monai.evaluation.roc import GRID, roc_curve, roc_curves
from kdmri_monai.evaluation.statistic import every_statistic


@pytest.fixture
def tied(predictions):
    """The table with probabilities of few different values."""
    rounded = predictions.probabilities.round(1)
    rounded /= rounded.sum(axis=1, keepdims=True)
    columns = (getattr(predictions, name) for name in ("id", "patient", "family", "label"))
    return Predictions(*columns, rounded)


@pytest.mark.parametrize("name", ["predictions", "tied"])
def test_points_are_those_of_scikit_learn(request, name):
    table = request.getfixturevalue(name)
    for k, curve in enumerate(roc_curves(table, resampling=Resampling(20))):
        false, true, threshold = reference_curve(table.label == k, table.probabilities[:, k], drop_intermediate=False)
        assert curve.name == table.classes[k]
        assert curve.false_positive_rate == pytest.approx(false)
        assert curve.true_positive_rate == pytest.approx(true)
        assert curve.threshold == pytest.approx(threshold)
        assert (curve.positives, curve.negatives) == ((table.label == k).sum(), (table.label != k).sum())


@pytest.mark.parametrize("name", ["predictions", "tied"])
def test_the_area_is_that_of_the_points_and_has_the_interval_of_the_metric(request, name):
    table = request.getfixturevalue(name)
    metrics = bootstrap(table, every_statistic(table), Resampling(100))
    for k, curve in enumerate(roc_curves(table, resampling=Resampling(100))):
        expected = roc_auc_score(table.label == k, table.probabilities[:, k])
        assert curve.area.estimate == pytest.approx(expected)
        assert auc(curve.false_positive_rate, curve.true_positive_rate) == pytest.approx(expected)
        assert curve.area == metrics[f"auroc/{curve.name}"]


def test_the_band_lies_around_the_curve(predictions):
    curve = roc_curve(predictions, "glioma", resampling=Resampling(200))
    assert curve.grid == GRID
    for rate, sensitivity in zip(curve.grid, curve.band, strict=True):
        within = np.array(curve.false_positive_rate) <= rate
        best, following = np.array(curve.true_positive_rate)[within][-1], np.array(curve.true_positive_rate)[~within]
        assert best <= sensitivity.estimate <= (following[0] if following.size else 1)
        assert sensitivity.low <= sensitivity.estimate <= sensitivity.high
    at_zero = predictions.probabilities[predictions.label != 1, 1].max()
    expected = (predictions.probabilities[predictions.label == 1, 1] > at_zero).mean()
    assert curve.band[0].estimate == pytest.approx(expected)
    assert curve.band[-1].estimate == curve.band[-1].low == 1
    middle = curve.band[5]
    assert middle.low < middle.estimate < middle.high


def test_bounds_of_the_band_come_from_the_curves_of_the_replicates(predictions):
    resampling, grid = Resampling(40, level=0.8, seed=3), (0.05, 0.25)
    curve = roc_curve(predictions, "meningioma", grid, resampling)
    families, found = np.unique(predictions.family), []
    for weight in family_weights(family_classes(predictions), resampling):
        rows = np.repeat(np.arange(len(predictions)), weight[np.searchsorted(families, predictions.family)])
        label, score = predictions.label[rows] == 0, predictions.probabilities[rows, 0]
        false, true, _ = reference_curve(label, score, drop_intermediate=False)
        found.append(np.interp(grid, false, true))
    low, high = np.min(found, axis=0), np.max(found, axis=0)
    for number, interval in enumerate(curve.band):
        assert low[number] <= interval.low < np.median(found, axis=0)[number] < interval.high <= high[number]


def test_a_class_without_rows_has_no_curve(predictions):
    two = predictions.take(predictions.label != 1)
    curves = roc_curves(two, resampling=Resampling(20))
    assert [curve.name for curve in curves] == ["meningioma", "pituitary tumour"]
    with pytest.raises(ValueError, match=r"0 of \d+ rows are glioma"):
        roc_curve(two, "glioma")
    assert roc_curves(predictions.take(predictions.label == 1)) == ()


@pytest.mark.parametrize(
    ("name", "grid", "message"),
    [("stroke", GRID, "class is 'stroke', allowed are meningioma, glioma, pituitary tumour"),
     ("glioma", (0.5, 1.5), "false-positive rate of the grid is 1.5")],
)  # fmt: skip
def test_curves_without_meaning_are_refused(predictions, name, grid, message):
    with pytest.raises(ValueError, match=message):
        roc_curve(predictions, name, grid)
