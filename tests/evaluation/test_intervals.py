import time

import numpy as np
import pytest
from scipy.stats import norm, t
from sklearn.metrics import balanced_accuracy_score, matthews_corrcoef, roc_auc_score

from kdmri_monai.evaluation.errors import ComparisonError
from kdmri_monai.evaluation.intervals import bootstrap, paired_bootstrap, seed_averaged
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.resampling import (
    Resampling,
    family_classes,
    family_weights,
)
from kdmri_monai.evaluation.statistic import every_statistic


def repeated(predictions, weights):
    """The rows of a replicate written out: every slice as often as its family was drawn."""
    families = np.unique(predictions.family)
    times = weights[np.searchsorted(families, predictions.family)]
    return np.repeat(np.arange(len(predictions)), times)


def reference_metrics(label, probabilities):
    prediction = probabilities.argmax(axis=1)
    return {
        "accuracy": float(np.mean(label == prediction)),
        "balanced_accuracy": balanced_accuracy_score(label, prediction),
        "mcc": matthews_corrcoef(label, prediction),
        "auroc/glioma": roc_auc_score(label == 1, probabilities[:, 1]),
        "nll": float(np.mean(-np.log(probabilities[np.arange(len(label)), label]))),
    }


def with_prediction(predictions, prediction):
    probabilities = np.full((len(predictions), 3), 0.1)
    probabilities[np.arange(len(predictions)), prediction] = 0.8
    return Predictions(predictions.id, predictions.patient, predictions.family, predictions.label, probabilities)


def test_a_replicate_is_the_table_with_families_repeated(predictions):
    weights = family_weights(family_classes(predictions), Resampling(25, seed=4))
    values = every_statistic(predictions)(weights.astype(float))
    for number, weight in enumerate(weights):
        rows = repeated(predictions, weight)
        expected = reference_metrics(predictions.label[rows], predictions.probabilities[rows])
        assert {name: values[name][number] for name in expected} == pytest.approx(expected)


def test_every_class_keeps_its_number_of_families(predictions):
    stratum = family_classes(predictions)
    weights = family_weights(stratum, Resampling(200))
    assert np.bincount(stratum).tolist() == [12, 15, 12]
    for k, size in enumerate((12, 15, 12)):
        assert (weights[:, stratum == k].sum(axis=1) == size).all()
    # a family is left out with probability (1 - 1/n)^n
    assert (weights[:, stratum == 1] == 0).mean() == pytest.approx((14 / 15) ** 15, abs=0.03)


def influence_by_hand(predictions, right):
    """Influence of the families of one class on its sensitivity: excess of right slices over the share of them."""
    own = [predictions.family == name for name in np.unique(predictions.family)]
    return np.array([(right[rows] - right.mean()).sum() for rows in own]) / len(right)


def test_bounds_of_a_share_are_those_of_wilson_with_as_many_slices_as_the_standard_error_is_worth(predictions):
    resampling = Resampling(400, level=0.9, seed=2)
    interval = bootstrap(predictions, resampling=resampling)["sensitivity/glioma"]
    gliomas = predictions.take(predictions.label == 1)
    right = gliomas.prediction == 1
    weights = family_weights(family_classes(predictions), resampling)
    rows = [repeated(predictions, weight) for weight in weights]
    values = [np.mean(predictions.prediction[row][predictions.label[row] == 1] == 1) for row in rows]
    squared = influence_by_hand(gliomas, right) ** 2
    degrees = min(14, 2 * 15 * squared.mean() ** 2 / squared.var())
    share, error = right.mean(), np.std(values, ddof=1) * np.sqrt(15 / 14)
    penalty = t.ppf(0.95, degrees) ** 2 / (share * (1 - share) / error**2)
    centre = (share + penalty / 2) / (1 + penalty)
    reach = np.sqrt(penalty * share * (1 - share) + penalty**2 / 4) / (1 + penalty)
    assert (interval.low, interval.high) == pytest.approx((centre - reach, centre + reach), rel=1e-4)
    assert (interval.estimate, interval.level, interval.replicates, interval.groups) == (share, 0.9, 400, 39)


def test_bounds_of_a_metric_without_limits_are_the_expanded_percentiles(predictions):
    resampling = Resampling(400, level=0.9, seed=2)
    interval = bootstrap(predictions, every_statistic(predictions), resampling)["nll"]
    rows = [repeated(predictions, weight) for weight in family_weights(family_classes(predictions), resampling)]
    values = [np.mean(-np.log(predictions.probabilities[row, predictions.label[row]])) for row in rows]
    tail = norm.cdf(t.ppf(0.05, 39 - 3) * np.sqrt(13 / 12))
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(values, [tail, 1 - tail])))


def test_bounds_of_a_difference_are_t_standard_errors_away(make_predictions):
    base = make_predictions(families=(12, 15, 12))
    spoiled = np.isin(base.family, np.unique(base.family[base.label == 1])[:2])  # two families make all the difference
    pair = base, with_prediction(base, np.where(spoiled, 0, base.prediction))
    resampling = Resampling(300, level=0.9)
    interval = paired_bootstrap(*pair, resampling)["sensitivity/glioma"]
    rows = [repeated(base, weight) for weight in family_weights(family_classes(base), resampling)]
    rows = [row[base.label[row] == 1] for row in rows]
    values = [np.mean(pair[0].prediction[row] == 1) - np.mean(pair[1].prediction[row] == 1) for row in rows]
    reach = t.ppf(0.95, 14) * np.std(values, ddof=1) * np.sqrt(15 / 14)
    expected = interval.estimate - reach, interval.estimate + reach
    assert (interval.low, interval.high) == pytest.approx(expected, rel=1e-5)


def test_a_class_that_is_wrong_as_a_whole_beside_classes_that_are_right_does_not_make_an_estimate_certain(
    predictions,
):
    decided = with_prediction(predictions, np.where(predictions.label == 2, 0, predictions.label))
    interval = bootstrap(decided)["balanced_accuracy"]
    families = len(set(predictions.family))
    quantile = t.ppf(0.975, families - 3)  # Wilson, one observation a family, t with a degree lost for each class
    penalty = quantile**2 / families
    reach = np.sqrt(penalty * 2 / 9 + penalty**2 / 4) / (1 + penalty)
    centre = (2 / 3 + penalty / 2) / (1 + penalty)
    assert interval.estimate == pytest.approx(2 / 3)
    assert (interval.low, interval.high) == (pytest.approx(centre - reach), pytest.approx(centre + reach))


def test_slices_of_a_family_make_the_interval_wider_than_slices_alone(predictions):
    alone = Predictions(predictions.id, predictions.id, predictions.id, predictions.label, predictions.probabilities)
    widths = [high.high - high.low for high in (bootstrap(table)["accuracy"] for table in (predictions, alone))]
    assert widths[0] > 1.5 * widths[1]


def test_the_same_seed_gives_the_same_interval(predictions):
    once, again = (bootstrap(predictions, resampling=Resampling(100, seed=7)) for _ in range(2))
    assert once == again
    assert once != bootstrap(predictions, resampling=Resampling(100, seed=8))


def test_the_order_of_the_rows_does_not_matter(predictions):
    shuffled = predictions.take(np.random.default_rng(0).permutation(len(predictions)))
    once, again = (bootstrap(table, every_statistic(table), Resampling(100)) for table in (predictions, shuffled))
    for name, interval in once.items():
        expected = (again[name].estimate, again[name].low, again[name].high)
        assert (interval.estimate, interval.low, interval.high) == pytest.approx(expected), name


def test_permuted_labels_are_at_chance(make_predictions):
    table = make_predictions(families=(60, 60, 60), found=(0.9, 0.9, 0.9))
    _, first, row = np.unique(table.family, return_index=True, return_inverse=True)
    shuffled = np.random.default_rng(1).permutation(table.label[first])[row]
    permuted = Predictions(table.id, table.family, table.family, shuffled, table.probabilities)
    metrics = bootstrap(permuted, every_statistic(permuted))
    for name, chance in (("balanced_accuracy", 1 / 3), ("mcc", 0), ("macro_auroc", 1 / 2)):
        assert metrics[name].low < chance < metrics[name].high, name
        assert metrics[name].estimate == pytest.approx(chance, abs=0.1), name


def test_a_metric_without_meaning_has_no_bounds(predictions):
    two = predictions.take(predictions.label < 2)
    metrics = bootstrap(two, every_statistic(two), Resampling(50))
    assert np.isnan([metrics["auroc/pituitary tumour"].estimate, metrics["sensitivity/pituitary tumour"].low]).all()
    assert metrics["balanced_accuracy"].low < metrics["balanced_accuracy"].estimate
    one = predictions.take(predictions.family == predictions.family[0])
    assert np.isnan([bootstrap(one)["accuracy"].low, bootstrap(one)["accuracy"].high]).all()
    assert bootstrap(one)["accuracy"].estimate == pytest.approx(float((one.prediction == one.label).mean()))


def test_a_better_network_is_told_from_a_worse_one_only_by_pairing(make_predictions):
    worse = make_predictions(families=(30, 30, 30), found=(0.7, 0.7, 0.7))
    wrong = np.flatnonzero(worse.prediction != worse.label)
    repaired = np.random.default_rng(0).choice(wrong, len(wrong) // 6, replace=False)
    prediction = worse.prediction.copy()
    prediction[repaired] = worse.label[repaired]
    better = with_prediction(worse, prediction)
    metrics = bootstrap(better)["balanced_accuracy"], bootstrap(worse)["balanced_accuracy"]
    assert metrics[0].low < metrics[1].high
    difference = paired_bootstrap(better, worse)["balanced_accuracy"]
    assert difference.low > 0
    assert difference.estimate == pytest.approx(metrics[0].estimate - metrics[1].estimate)
    back = paired_bootstrap(worse, better)["balanced_accuracy"]
    assert (back.estimate, back.low, back.high) == pytest.approx(
        (-difference.estimate, -difference.high, -difference.low)
    )


def test_networks_that_are_alike_are_not_told_apart(make_predictions):
    base = make_predictions(families=(30, 30, 30))
    rng = np.random.default_rng(5)
    pair = [np.where(rng.random(len(base)) < 0.85, base.label, (base.label + 1) % 3) for _ in range(2)]
    difference = paired_bootstrap(*(with_prediction(base, prediction) for prediction in pair))["balanced_accuracy"]
    assert difference.low < 0 < difference.high


def test_a_table_does_not_differ_from_itself_in_another_order(predictions):
    shuffled = predictions.take(np.random.default_rng(0).permutation(len(predictions)))
    assert {(d.estimate, d.low, d.high) for d in paired_bootstrap(shuffled, predictions).values()} == {(0, 0, 0)}


def test_tables_over_other_slices_are_not_paired(predictions):
    fewer = predictions.take(np.arange(3, len(predictions)))
    with pytest.raises(ComparisonError, match=r"slices differ: 3 missing \(0, 1, 2\)"):
        paired_bootstrap(fewer, predictions)
    with pytest.raises(ComparisonError, match=r"slices differ: 3 more \(0, 1, 2\)"):
        paired_bootstrap(predictions, fewer)
    label = predictions.label.copy()
    label[4] = (label[4] + 1) % 3
    other = Predictions(predictions.id, predictions.patient, predictions.family, label, predictions.probabilities)
    with pytest.raises(ComparisonError, match=r"label differs for 4$"):
        paired_bootstrap(other, predictions)
    named = Predictions(
        *(getattr(predictions, c) for c in ("id", "patient", "family", "label", "probabilities")), ("a", "b", "c")
    )
    with pytest.raises(ComparisonError, match="classes differ: a, b, c and meningioma"):
        paired_bootstrap(named, predictions)


@pytest.mark.parametrize(
    ("arguments", "message"), [({"replicates": 0}, "replicates is 0"), ({"level": 1.0}, "level is 1.0")]
)
def test_a_resampling_without_meaning_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Resampling(**arguments)


def test_two_thousand_replicates_of_the_whole_set_take_less_than_five_seconds(make_predictions):
    table = make_predictions(families=(82, 89, 62), found=(0.9, 0.9, 0.9))
    while len(table) < 3064:
        more = make_predictions(families=(82, 89, 62), seed=len(table))
        ids = np.char.add("x", more.id)
        columns = ((table.id, ids), (table.patient, more.patient), (table.family, more.family))
        names = [np.concatenate(pair)[:3064] for pair in columns]
        label = np.concatenate((table.label, more.label))[:3064]
        table = Predictions(*names, label, np.concatenate((table.probabilities, more.probabilities))[:3064])
    began = time.process_time()
    bootstrap(table, every_statistic(table))
    assert time.process_time() - began < 5


def test_seeds_are_averaged_within_every_replicate(make_predictions):
    base = make_predictions(families=(12, 15, 12))
    rng = np.random.default_rng(2)
    tables = [
        with_prediction(base, np.where(rng.random(len(base)) < right, base.label, (base.label + 1) % 3))
        for right in (0.6, 0.8, 0.95)
    ]
    averaged = seed_averaged(tables)["balanced_accuracy"]
    each = [balanced_accuracy_score(table.label, table.prediction) for table in tables]
    assert averaged.estimate == pytest.approx(np.mean(each))
    alone = [bootstrap(table)["balanced_accuracy"] for table in tables]
    assert max(each) - min(each) > 0.3  # seeds differ more than the interval of their average is wide
    assert averaged.high - averaged.low < 0.9 * np.mean([one.high - one.low for one in alone])
    same = seed_averaged([tables[0]] * 3)["balanced_accuracy"]
    assert (same.low, same.high) == pytest.approx((alone[0].low, alone[0].high))


def test_the_difference_of_two_arms_is_paired_over_patients(make_predictions):
    base = make_predictions(families=(30, 30, 30))
    one = seed_averaged([base], [base])["balanced_accuracy"]
    assert (one.estimate, one.low, one.high) == (0, 0, 0)
    wrong = np.flatnonzero(base.prediction != base.label)
    better = base.prediction.copy()
    better[wrong[::3]] = base.label[wrong[::3]]
    pair = with_prediction(base, better)
    single, repeated_arms = paired_bootstrap(pair, base), seed_averaged([pair, pair], [base, base])
    assert repeated_arms["accuracy"].low == pytest.approx(single["accuracy"].low)
    assert repeated_arms["accuracy"].estimate == pytest.approx(single["accuracy"].estimate)
    with pytest.raises(ComparisonError, match="no tables"):
        seed_averaged([])
    with pytest.raises(ComparisonError, match="slices differ"):
        seed_averaged([base], [base.take(np.arange(5))])
