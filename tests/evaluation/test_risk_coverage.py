"""Risk and coverage against the definition, slice by slice, and against every order of equal confidences."""

from itertools import permutations

import numpy as np
import pytest
from scipy.integrate import quad

from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.resampling import Resampling, family_classes, family_weights
from kdmri_monai.evaluation.risk_coverage import COVERAGES, coverage_statistic, risk_coverage
from kdmri_monai.evaluation.statistic import estimates


def table_of(confidence, wrong):
    """Two classes, one slice a family."""
    confidence = np.asarray(confidence, dtype=float)
    names = np.arange(len(confidence)).astype(str)
    label = np.where(wrong, 1, 0)
    return Predictions(names, names, names, label, np.stack([confidence, 1 - confidence], axis=1), ("a", "b"))


def reference_risks(wrong_surest_first):
    """Risk of the k surest slices for k = 1 .. N: Geifman and El-Yaniv 2017, section 2."""
    return np.cumsum(wrong_surest_first) / np.arange(1, len(wrong_surest_first) + 1)


def reference_aurc(confidence, wrong):
    """The mean of them; ties in the order given."""
    return reference_risks(np.asarray(wrong)[np.argsort(-np.asarray(confidence), kind="stable")]).mean()


def test_the_area_is_the_mean_risk_of_the_surest_slices(predictions):
    wrong = predictions.prediction != predictions.label
    found = estimates(predictions, coverage_statistic(predictions))
    assert found["aurc"] == pytest.approx(reference_aurc(predictions.probabilities.max(axis=1), wrong))
    least = reference_aurc(-wrong.astype(float), wrong)
    assert found["excess_aurc"] == pytest.approx(found["aurc"] - least)


def test_accuracy_is_that_of_the_surest_slices(predictions):
    wrong = predictions.prediction != predictions.label
    risk = reference_risks(wrong[np.argsort(-predictions.probabilities.max(axis=1))])
    taken = (1, 40, 100, len(predictions))
    found = estimates(predictions, coverage_statistic(predictions, [n / len(predictions) for n in taken]))
    for n in taken:
        assert found[f"risk/{n / len(predictions)}"] == pytest.approx(risk[n - 1], abs=1e-12)
        assert found[f"accuracy/{n / len(predictions)}"] == pytest.approx(1 - risk[n - 1])


def test_ties_are_averaged_over_every_order():
    confidence, wrong = [0.9, 0.8, 0.8, 0.8, 0.8, 0.7, 0.7], [False, True, False, False, True, True, False]
    areas, halves = [], []
    for first in permutations(wrong[1:5]):
        for second in permutations(wrong[5:]):
            order = [wrong[0], *first, *second]
            areas.append(reference_risks(order).mean())
            halves.append(reference_risks(order)[2])
    found = estimates(table_of(confidence, wrong), coverage_statistic(table_of(confidence, wrong), [3 / 7]))
    assert found["aurc"] == pytest.approx(np.mean(areas))
    assert found[f"risk/{3 / 7}"] == pytest.approx(np.mean(halves))


def test_a_network_that_is_least_sure_of_its_errors_has_no_excess():
    table = table_of(np.linspace(0.99, 0.6, 40), [False] * 30 + [True] * 10)
    found = estimates(table, coverage_statistic(table))
    assert found["excess_aurc"] == pytest.approx(0, abs=1e-12)
    assert found["accuracy/0.7"] == 1
    assert found["accuracy/0.5"] == 1
    assert found["accuracy/0.9"] == pytest.approx(30 / 36)


def test_the_least_area_comes_near_to_the_limit_of_the_paper():
    n, r = 20_000, 0.2
    table = table_of(np.linspace(0.99, 0.6, n), np.arange(n) >= n * (1 - r))
    area = estimates(table, coverage_statistic(table))["aurc"]
    assert area == pytest.approx(r + (1 - r) * np.log(1 - r), rel=1e-3)
    assert area == pytest.approx(quad(lambda c: max(0.0, 1 - (1 - r) / c), 1 - r, 1)[0], rel=1e-3)


def test_confidence_that_says_nothing_has_the_risk_of_all_slices_everywhere():
    table = table_of([0.7] * 50, [True] * 10 + [False] * 40)
    found = estimates(table, coverage_statistic(table))
    assert [found[f"risk/{coverage}"] for coverage in COVERAGES] == pytest.approx([0.2] * 5)
    assert found["aurc"] == pytest.approx(0.2)


def test_a_network_without_errors_has_no_area():
    table = table_of(np.linspace(0.99, 0.6, 40), [False] * 40)
    found = estimates(table, coverage_statistic(table))
    assert found["aurc"] == 0
    assert found["excess_aurc"] == 0


def test_a_replicate_is_the_table_with_families_repeated(predictions):
    weights = family_weights(family_classes(predictions), Resampling(6, seed=2))
    values = coverage_statistic(predictions, [0.5, 1.0])(weights.astype(float))
    families = np.unique(predictions.family)
    for number, weight in enumerate(weights):
        rows = np.repeat(np.arange(len(predictions)), weight[np.searchsorted(families, predictions.family)])
        wrong = (predictions.prediction != predictions.label)[rows]
        assert values["risk/1.0"][number] == pytest.approx(wrong.mean())
        # a slice and its copies have the same answer, so their order does not matter
        expected = reference_aurc(predictions.probabilities.max(axis=1)[rows], wrong)
        assert values["aurc"][number] == pytest.approx(expected)


def test_the_curve_has_intervals_and_ends_at_the_error_of_all_slices(predictions):
    found = risk_coverage(predictions, grid=(0.1, 0.55, 1.0), resampling=Resampling(200))
    assert found.coverage == (0.1, 0.55, 1.0)
    assert found.risk[-1].estimate == pytest.approx((predictions.prediction != predictions.label).mean())
    assert found.risk[-1].low < found.risk[-1].estimate < found.risk[-1].high
    assert found.accuracy[1.0].low == pytest.approx(1 - found.risk[-1].high)
    assert 0 < found.excess_aurc.low < found.excess_aurc.estimate < found.aurc.estimate < found.aurc.high
    assert (list(found.accuracy), found.slices) == (list(COVERAGES), len(predictions))


def test_the_order_of_the_rows_does_not_matter(predictions):
    rounded = predictions.probabilities.round(1)
    rounded /= rounded.sum(axis=1, keepdims=True)
    columns = (getattr(predictions, name) for name in ("id", "patient", "family", "label"))
    tied = Predictions(*columns, rounded)
    shuffled = tied.take(np.random.default_rng(0).permutation(len(tied)))
    once, again = (estimates(table, coverage_statistic(table)) for table in (tied, shuffled))
    assert once == pytest.approx(again)


@pytest.mark.parametrize("coverage", [0.0, 1.01, -0.5, np.nan])
def test_a_coverage_without_meaning_is_refused(predictions, coverage):
    with pytest.raises(ValueError, match=f"coverage is {coverage}"):
        risk_coverage(predictions, coverages=(0.5, coverage))
