import math

import numpy as np
import pytest
from sklearn import metrics as sk

from kdmri_monai.evaluation import metrics

rng = np.random.default_rng(3)
LABEL = rng.integers(0, 3, 400)
PREDICTION = np.where(rng.random(400) < 0.6, LABEL, rng.integers(0, 3, 400))


def reference_specificity(label, prediction, k):
    others = [p != k for t, p in zip(label, prediction, strict=True) if t != k]
    return sum(others) / len(others)


def test_metrics_equal_scikit_learn():
    confusion = metrics.confusion_matrix(LABEL, PREDICTION, 3)
    np.testing.assert_array_equal(confusion, sk.confusion_matrix(LABEL, PREDICTION))
    assert metrics.accuracy(confusion) == pytest.approx(sk.accuracy_score(LABEL, PREDICTION))
    assert metrics.balanced_accuracy(confusion) == pytest.approx(sk.balanced_accuracy_score(LABEL, PREDICTION))
    assert metrics.macro_f1(confusion) == pytest.approx(sk.f1_score(LABEL, PREDICTION, average="macro"))
    assert metrics.mcc(confusion) == pytest.approx(sk.matthews_corrcoef(LABEL, PREDICTION))
    np.testing.assert_allclose(metrics.sensitivity(confusion), sk.recall_score(LABEL, PREDICTION, average=None))
    np.testing.assert_allclose(metrics.precision(confusion), sk.precision_score(LABEL, PREDICTION, average=None))
    np.testing.assert_allclose(metrics.f1(confusion), sk.f1_score(LABEL, PREDICTION, average=None))
    expected = [reference_specificity(LABEL, PREDICTION, k) for k in range(3)]
    np.testing.assert_allclose(metrics.specificity(confusion), expected)


def test_a_stack_of_matrices_is_a_stack_of_metrics():
    stack = rng.integers(1, 50, (4, 5, 3, 3))
    for metric in (metrics.accuracy, metrics.balanced_accuracy, metrics.macro_f1, metrics.mcc, metrics.specificity):
        each = [[metric(stack[i, j]) for j in range(5)] for i in range(4)]
        np.testing.assert_allclose(metric(stack), each)


def test_a_class_without_labels_is_undefined_and_left_out_of_the_means():
    label, prediction = np.array([0, 0, 1, 1, 1]), np.array([0, 2, 1, 1, 0])
    confusion = metrics.confusion_matrix(label, prediction, 3)
    for metric in (metrics.sensitivity, metrics.precision, metrics.f1):
        assert np.isnan(metric(confusion)).tolist() == [False, False, True]
    assert metrics.specificity(confusion)[2] == pytest.approx(4 / 5)
    assert metrics.balanced_accuracy(confusion) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert metrics.macro_f1(confusion) == pytest.approx((1 / 2 + 4 / 5) / 2)


def test_a_single_class_has_no_specificity_and_no_correlation():
    confusion = metrics.confusion_matrix(np.ones(4, int), np.array([1, 1, 1, 0]), 3)
    assert math.isnan(metrics.specificity(confusion)[1])
    assert metrics.mcc(confusion) == 0
    assert metrics.balanced_accuracy(confusion) == pytest.approx(3 / 4)


def test_a_constant_prediction_has_no_precision_elsewhere_and_correlation_zero():
    confusion = metrics.confusion_matrix(np.array([0, 1, 2]), np.zeros(3, int), 3)
    assert np.isnan(metrics.precision(confusion)).tolist() == [False, True, True]
    assert metrics.f1(confusion).tolist() == [pytest.approx(1 / 2), 0, 0]
    assert metrics.mcc(confusion) == 0


def test_an_empty_matrix_is_undefined_throughout():
    nothing = np.zeros((3, 3))
    assert np.isnan([metrics.accuracy(nothing), metrics.balanced_accuracy(nothing), metrics.macro_f1(nothing)]).all()


@pytest.mark.parametrize(
    ("label", "prediction", "message"),
    [
        ([0, 3], [0, 1], r"label 0\.\.3 is outside 0\.\.2"),
        ([0, 1], [-1, 1], r"prediction -1\.\.1 is outside"),
        ([0, 1], [0], r"shape \(2,\) and predictions \(1,\)"),
    ],
)
def test_labels_that_are_no_classes_are_refused(label, prediction, message):
    with pytest.raises(ValueError, match=message):
        metrics.confusion_matrix(np.array(label), np.array(prediction), 3)
