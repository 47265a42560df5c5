import numpy as np
import pytest
from sklearn import metrics as sk

from kdmri_monai.evaluation.calibration import brier_scores, calibration_error, log_losses
from kdmri_monai.evaluation.ranking import auroc, average_precision, rank_sums


def reference_calibration_error(label, probabilities, bins=15):
    """Guo et al. 2017, equation 3, bin by bin over (low, high]."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == label
    error = 0.0
    for low in np.linspace(0, 1, bins + 1)[:-1]:
        inside = (confidence > low) & (confidence <= low + 1 / bins)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return error


def areas(positive, score, weights):
    sums = rank_sums(positive, score, weights)
    return auroc(sums), average_precision(sums)


def test_areas_equal_scikit_learn_for_every_weighting_and_with_ties():
    rng = np.random.default_rng(0)
    score = np.round(rng.random(300), 1)
    positive = rng.random(300) < 0.2 + 0.5 * score
    weights = rng.integers(0, 4, (20, 300)).astype(float)
    area, precision = areas(positive, score, weights)
    for row, weight in enumerate(weights):
        assert area[row] == pytest.approx(sk.roc_auc_score(positive, score, sample_weight=weight))
        assert precision[row] == pytest.approx(sk.average_precision_score(positive, score, sample_weight=weight))


def test_areas_of_a_single_class_are_undefined():
    score, even = np.array([0.1, 0.5, 0.9]), np.ones((1, 3))
    area, precision = areas(np.zeros(3, bool), score, even)
    assert np.isnan(area[0])
    assert np.isnan(precision[0])
    area, precision = areas(np.ones(3, bool), score, even)
    assert np.isnan(area[0])
    assert precision[0] == 1


def test_a_weight_of_zero_leaves_a_row_out():
    score, positive = np.array([0.9, 0.8, 0.1]), np.array([False, True, False])
    area, precision = areas(positive, score, np.array([[0.0, 1.0, 1.0]]))
    assert area[0] == 1
    assert precision[0] == 1


def test_log_losses_equal_scikit_learn_and_stay_finite(predictions):
    expected = sk.log_loss(predictions.label, predictions.probabilities, labels=[0, 1, 2])
    assert log_losses(predictions.label, predictions.probabilities).mean() == pytest.approx(expected)
    assert log_losses(np.array([0]), np.array([[0.0, 1.0]]))[0] == pytest.approx(52 * np.log(2))


def test_brier_scores_run_from_right_to_wrong(predictions):
    label, probabilities = predictions.label, predictions.probabilities
    by_class = [sk.brier_score_loss(label == k, probabilities[:, k]) for k in range(3)]
    assert brier_scores(label, probabilities).mean() == pytest.approx(sum(by_class))
    assert brier_scores(np.array([0, 1]), np.array([[1.0, 0, 0], [1.0, 0, 0]])).tolist() == [0, 2]


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_calibration_error_equals_its_definition(predictions, bins):
    expected = reference_calibration_error(predictions.label, predictions.probabilities, bins)
    assert calibration_error(predictions.label, predictions.probabilities, bins) == pytest.approx(expected)


def test_calibration_bins_are_closed_on_the_right():
    probabilities = np.array([[0.5, 0.5], [0.6, 0.4]])  # 0.5 is in (0, 0.5], 0.6 in (0.5, 1]
    assert calibration_error(np.array([1, 0]), probabilities, bins=2) == pytest.approx((0.5 + 0.4) / 2)


def test_no_bins_are_refused():
    with pytest.raises(ValueError, match="bins is 0"):
        calibration_error(np.array([0]), np.array([[1.0, 0.0]]), bins=0)
