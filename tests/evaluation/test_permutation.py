import itertools

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, matthews_corrcoef, recall_score, roc_auc_score

from kdmri_monai.evaluation.errors import ComparisonError, PredictionError
from kdmri_monai.evaluation.intervals import seed_averaged
from kdmri_monai.evaluation.permutation import arms_permutation_p, label_permutation, permutation_p
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.resampling import Resampling


def with_prediction(table, prediction):
    probabilities = 0.1 + 0.7 * np.eye(3)[prediction]
    return Predictions(table.id, table.patient, table.family, table.label, probabilities)


def right_at(table, share, seed):
    """Decisions that are right at this share of the slices; a family is hard or easy as a whole."""
    rng = np.random.default_rng(seed)
    _, family = np.unique(table.family, return_inverse=True)
    ease = rng.beta(3 * share, 3 * (1 - share), family.max() + 1)[family]
    wrong = (table.label + rng.integers(1, 3, len(table))) % 3
    return with_prediction(table, np.where(rng.random(len(table)) < ease, table.label, wrong))


def swapped_by_hand(new, old, swap, metric):
    """Difference of a metric with the slices of the families in ``swap`` exchanged, row by row."""
    moved = np.isin(old.family, list(swap))
    one = np.where(moved, old.prediction, new.prediction)
    other = np.where(moved, new.prediction, old.prediction)
    return metric(old.label, one) - metric(old.label, other)


def every_swap_by_hand(arms, metric):
    families = np.unique(arms[0][0].family)
    swaps = [some for size in range(len(families) + 1) for some in itertools.combinations(families, size)]
    pairs = list(itertools.product(*arms))
    values = [np.mean([swapped_by_hand(new, old, swap, metric) for new, old in pairs]) for swap in swaps]
    return float(np.mean(np.abs(values) >= abs(values[0]) - 1e-12))


METRICS = {
    "balanced_accuracy": balanced_accuracy_score,
    "mcc": matthews_corrcoef,
    "sensitivity/glioma": lambda label, prediction: recall_score(label, prediction, labels=[1], average="macro"),
}


@pytest.mark.parametrize("metric", METRICS)
def test_with_few_families_it_is_every_swap_done_by_hand(make_predictions, metric):
    base = make_predictions(families=(2, 2, 2))
    for seed in range(2):
        new, old = right_at(base, 0.9, seed), right_at(base, 0.6, seed + 10)
        assert permutation_p(new, old, metric) == pytest.approx(every_swap_by_hand(([new], [old]), METRICS[metric]))


def test_it_is_the_paired_permutation_test_of_scipy(make_predictions):
    """A balanced accuracy is a sum over families, so SciPy can swap the two summands of each."""
    base = make_predictions(families=(4, 3, 4))
    new, old = right_at(base, 0.85, 1), right_at(base, 0.7, 2)
    _, family = np.unique(base.family, return_inverse=True)
    share = 1 / np.bincount(base.label)[base.label] / 3
    sums = [np.bincount(family, weights=share * (table.prediction == table.label)) for table in (new, old)]

    def difference(one, other, axis):
        return (one - other).sum(axis=axis)

    reference = stats.permutation_test(sums, difference, permutation_type="samples", n_resamples=np.inf)
    assert permutation_p(new, old, resampling=Resampling(2**11)) == pytest.approx(reference.pvalue)
    assert permutation_p(new, old, resampling=Resampling(1999)) == pytest.approx(reference.pvalue, abs=0.04)


def test_more_families_are_swapped_at_random_and_p_is_never_zero(make_predictions):
    base = make_predictions(families=(12, 15, 12))
    good, bad = right_at(base, 0.95, 1), right_at(base, 0.5, 2)
    assert permutation_p(good, bad, resampling=Resampling(199)) == 1 / 200
    draws = [permutation_p(right_at(base, 0.8, 1), right_at(base, 0.8, 2), resampling=Resampling(500, seed=s))
             for s in (0, 0, 1)]  # fmt: skip
    assert draws[0] == draws[1] != draws[2]
    assert draws[0] == pytest.approx(draws[2], abs=0.1)


def test_networks_of_equal_skill_are_told_apart_at_the_level_of_the_test(make_predictions):
    base = make_predictions(families=(8, 8, 8))
    values = np.array([
        permutation_p(right_at(base, 0.8, 2 * s), right_at(base, 0.8, 2 * s + 1), resampling=Resampling(200))
        for s in range(300)
    ])  # fmt: skip
    assert 0.02 <= (values <= 0.05).mean() <= 0.09
    assert (values <= 0.5).mean() == pytest.approx(0.5, abs=0.1)


def test_arms_of_seeds_swap_as_by_hand_and_test_the_averaged_difference(make_predictions):
    base = make_predictions(families=(2, 1, 2))
    new, old = [right_at(base, 0.9, s) for s in (1, 2)], [right_at(base, 0.6, s) for s in (3, 4, 5)]
    for name, metric in METRICS.items():
        assert arms_permutation_p(new, old, name) == pytest.approx(every_swap_by_hand((new, old), metric))
        unswapped = np.mean([swapped_by_hand(one, other, (), metric) for one in new for other in old])
        assert unswapped == pytest.approx(seed_averaged(new, old, Resampling(2))[name].estimate)
    assert arms_permutation_p(new[:1], old[:1]) == permutation_p(new[0], old[0])
    assert arms_permutation_p(new, old) == pytest.approx(arms_permutation_p(old, new))


def test_networks_that_decide_alike_do_not_differ(predictions):
    shuffled = predictions.take(np.random.default_rng(0).permutation(len(predictions)))
    assert permutation_p(shuffled, predictions) == 1


def test_what_cannot_be_compared_is_refused(predictions):
    with pytest.raises(ComparisonError, match="slices differ: 3 missing"):
        permutation_p(predictions.take(np.arange(3, len(predictions))), predictions)
    with pytest.raises(ComparisonError, match="0 tables against 1"):
        arms_permutation_p([], [predictions])
    for call in (lambda: permutation_p(predictions, predictions, "auc"), lambda: label_permutation(predictions, "auc")):
        with pytest.raises(ValueError, match="metric is 'auc', allowed are accuracy, balanced_accuracy"):
            call()
    label = predictions.label.copy()
    label[1] = (label[1] + 1) % 3
    mixed = Predictions(predictions.id, predictions.patient, predictions.family, label, predictions.probabilities)
    with pytest.raises(PredictionError, match="row 2: family '000' has two labels"):
        label_permutation(mixed)


AREAS = {
    "balanced_accuracy": lambda t, label: balanced_accuracy_score(label, t.prediction),
    "auroc/glioma": lambda t, label: roc_auc_score(label == 1, t.probabilities[:, 1]),
    "macro_auroc": lambda t, label: roc_auc_score(label, t.probabilities, multi_class="ovr"),
}


@pytest.mark.parametrize("metric", AREAS)
def test_chance_is_that_of_all_exchanges_of_the_labels_of_families(make_predictions, metric):
    table = make_predictions(families=(2, 2, 2), found=(0.5, 0.6, 0.4))
    _, first, family = np.unique(table.family, return_index=True, return_inverse=True)
    labels = set(itertools.permutations(table.label[first].tolist()))
    values = np.array([AREAS[metric](table, np.array(label)[family]) for label in labels])
    found = label_permutation(table, metric, Resampling(20_000, level=0.8))
    assert found.mean == pytest.approx(values.mean(), abs=0.004)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values, (0.1, 0.9))), abs=0.02)
    own = AREAS[metric](table, table.label)
    assert found.p == pytest.approx(np.mean(values >= own - 1e-12), abs=0.015)


def test_answers_without_relation_to_the_labels_lie_in_the_range_of_chance(make_predictions):
    inside = 0
    for seed in range(300):
        table, rng = make_predictions(families=(8, 10, 8), seed=seed), np.random.default_rng(seed)
        _, family = np.unique(table.family, return_inverse=True)
        liking = rng.dirichlet((0.6, 0.9, 0.5), family.max() + 1)  # a family looks more like one class than another
        answers = (rng.random((len(table), 1)) > liking[family].cumsum(axis=1)[:, :2]).sum(axis=1)
        table = with_prediction(table, answers)
        null = label_permutation(table, resampling=Resampling(200, seed=seed))
        inside += null.low <= balanced_accuracy_score(table.label, answers) <= null.high
    assert 0.91 <= inside / 300 <= 0.98


def test_the_range_is_wider_where_slices_hang_together(make_predictions):
    """Permuting slices instead of families would call a source of families a finding."""
    table = make_predictions(families=(12, 15, 12))
    _, family = np.unique(table.family, return_inverse=True)
    together = with_prediction(table, np.random.default_rng(0).integers(0, 3, family.max() + 1)[family])
    alone = Predictions(table.id, table.id, table.id, table.label, together.probabilities)
    wide, narrow = label_permutation(together), label_permutation(alone)
    assert wide.high - wide.low > 2.5 * (narrow.high - narrow.low)
    assert wide.mean == pytest.approx(1 / 3, abs=0.01)
    assert wide.low < 1 / 3 < wide.high


def test_a_network_that_knows_is_beyond_chance(predictions):
    found = label_permutation(predictions, resampling=Resampling(499))
    assert found.p == 1 / 500
    assert found.high < balanced_accuracy_score(predictions.label, predictions.prediction)
    only_one = predictions.take(predictions.label == 1)
    assert np.isnan(label_permutation(only_one, "auroc/glioma").p)
