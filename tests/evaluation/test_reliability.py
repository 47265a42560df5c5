"""Bins of reliability diagrams against scikit-learn, their bounds against SciPy and a simulation."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from scipy.stats import binomtest, norm, t
from sklearn.calibration import calibration_curve

from kdmri_monai.evaluation.calibration import calibration_error
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.reliability import effective_number, reliability_bins, wilson


def table_of(confidence, right, family):
    """Two classes; the decided one is right where ``right`` says so."""
    confidence, right = np.asarray(confidence), np.asarray(right)
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    ids = np.arange(len(confidence)).astype(str)
    return Predictions(ids, family, family, np.where(right, 0, 1), probabilities, ("a", "b"))


def without_empty(values, count):
    return np.array(values)[np.array(count) > 0]


@pytest.mark.parametrize(("rule", "strategy"), [("width", "uniform"), ("count", "quantile")])
@pytest.mark.parametrize("bins", [1, 7, 15])
def test_bins_are_those_of_scikit_learn(predictions, rule, strategy, bins):
    found = reliability_bins(predictions, bins, rule)
    confidence = predictions.probabilities.max(axis=1)
    right = predictions.prediction == predictions.label
    accuracy, mean = calibration_curve(right, confidence, n_bins=bins, strategy=strategy)
    assert without_empty(found.accuracy, found.count) == pytest.approx(accuracy)
    assert without_empty(found.confidence, found.count) == pytest.approx(mean)
    assert sum(found.count) == len(predictions)


def test_bins_of_equal_width_add_up_to_the_calibration_error(predictions):
    expected = calibration_error(predictions.label, predictions.probabilities, 11)
    assert reliability_bins(predictions, 11).error == pytest.approx(expected)


def test_a_confidence_at_a_limit_belongs_to_the_bin_below():
    family = np.array(["f", "g", "h"])
    found = reliability_bins(table_of([0.6, 0.8, 1.0], [True] * 3, family), bins=5)
    assert found.count == (0, 0, 1, 1, 1)
    assert np.isnan(found.confidence[:2] + found.accuracy[:2] + found.low[:2]).all()


def test_bins_of_equal_count_are_equal_and_keep_ties_together():
    family = np.arange(100).astype(str)
    spread = reliability_bins(table_of(np.linspace(0.51, 0.99, 100), [True] * 100, family), 4, "count")
    assert spread.count == (25, 25, 25, 25)
    tied = reliability_bins(table_of([0.6] * 30 + [0.9] * 70, [True] * 100, family), 4, "count")
    assert (tied.count, tied.confidence) == ((30, 70), pytest.approx((0.6, 0.9)))
    one = reliability_bins(table_of([0.7] * 100, [True] * 60 + [False] * 40, family), 4, "count")
    assert (one.count, one.accuracy) == ((100,), (0.6,))


@pytest.mark.parametrize(("hits", "n"), [(0, 7), (3, 7), (7, 7), (40, 90)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_the_interval_of_independent_slices_is_wilsons(hits, n, level):
    expected = binomtest(hits, n).proportion_ci(level, method="wilson")
    assert wilson(hits / n, n, level) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_bounds_of_a_bin_are_wilsons_for_its_effective_number():
    hits, family = (3, 1, 4, 0), np.repeat(["a", "b", "c", "d"], 4)
    right = np.concatenate([np.arange(4) < number for number in hits])
    # residuals 1, -1, 2, -2: variance 4 / 3 * 10 / 16^2 beside .5 * .5 of one independent slice
    assert effective_number(right, family) == pytest.approx(0.25 / (4 / 3 * 10 / 16**2))
    found = reliability_bins(table_of([0.9] * 16, right, family), 1)
    assert (found.low[0], found.high[0]) == pytest.approx(wilson(0.5, 4.8 * (norm.ppf(0.975) / t.ppf(0.975, 3)) ** 2))
    assert (found.count, found.families) == ((16,), (4,))


def test_slices_that_are_alike_count_as_one():
    family = np.repeat(["a", "b", "c", "d"], 5)
    assert effective_number(np.repeat([True, False, True, True], 5), family) == pytest.approx(4)
    assert effective_number(np.ones(20, dtype=bool), family) == pytest.approx(4)
    assert effective_number(np.zeros(3, dtype=bool), np.array(["a", "a", "b"])) == pytest.approx(9 / 5)
    assert effective_number(np.array([True, False]), np.array(["a", "a"])) == pytest.approx(1)


def test_slices_that_do_not_depend_on_their_family_count_in_full():
    right = np.tile([True, False], 20)
    assert effective_number(right, np.repeat(np.arange(10), 4).astype(str)) == pytest.approx(40)


def test_intervals_of_clustered_slices_cover_and_those_of_independent_ones_do_not():
    rng, truth, hits = np.random.default_rng(0), 0.8, np.zeros(2)
    for _ in range(400):
        family = np.repeat(np.arange(15), rng.integers(2, 12, 15)).astype(str)
        right = rng.random(len(family)) < rng.beta(1.6, 0.4, 15)[family.astype(int)]
        found = reliability_bins(table_of([0.9] * len(right), right, family), 1)
        for kind, (low, high) in enumerate(((found.low[0], found.high[0]), wilson(right.mean(), len(right)))):
            hits[kind] += low <= truth <= high
    clustered, independent = hits / 400
    assert 0.91 <= clustered <= 0.98
    assert independent < 0.85


def test_a_single_family_has_no_interval():
    found = reliability_bins(table_of([0.9] * 4, [True] * 4, np.array(["f"] * 4)), 1)
    assert (found.count, found.accuracy) == ((4,), (1.0,))
    assert np.isnan([found.low[0], found.high[0]]).all()


def test_bins_can_be_written_as_json(predictions):
    found = asdict(reliability_bins(predictions, 4, "count"))
    assert json.loads(json.dumps(found))["count"] == list(found["count"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"bins": 0}, "bins is 0"), ({"rule": "equal"}, "rule is 'equal', allowed are width, count"),
     ({"level": 0.0}, "level is 0.0")],
)  # fmt: skip
def test_bins_without_meaning_are_refused(predictions, arguments, message):
    with pytest.raises(ValueError, match=message):
        reliability_bins(predictions, **arguments)
