"""Temperatures of teachers against scikit-learn's log loss and another optimiser, and the cases that have none."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import softmax
from sklearn.metrics import log_loss
from torch import nn

from kdmri_monai.engines.calibration import BOUNDS, best_temperature, fit_temperature, negative_log_likelihood


def sampled(seed, temperature, classes=3, samples=400):
    """Labels drawn from the softmax of logits over a temperature, and the logits."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 4, (samples, classes))
    chances = softmax(logits / temperature, axis=1)
    return logits, np.array([generator.choice(classes, p=chance) for chance in chances])


def reference(logits, labels):
    """One over the slope that another optimiser finds for scikit-learn's loss."""
    classes = range(logits.shape[1])
    start = [[0.5], [1.0]]
    found = minimize(
        lambda slope: log_loss(labels, softmax(slope * logits, axis=1), labels=classes),
        start[0],
        method="Nelder-Mead",
        options={"initial_simplex": start, "xatol": 1e-5, "fatol": 1e-12},
    )
    return 1 / found.x.item()


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_it_is_the_temperature_of_the_smallest_log_loss(temperature, classes):
    logits, labels = sampled(int(10 * temperature) + classes, temperature, classes)
    got = best_temperature(logits, labels)
    assert got == pytest.approx(reference(logits, labels), rel=1e-3)
    assert got == pytest.approx(temperature, rel=0.35)
    nearby = [negative_log_likelihood(logits / (got * factor), labels) for factor in (0.99, 1.0, 1.01)]
    assert min(nearby) == nearby[1]


def test_the_likelihood_is_that_of_scikit_learn_also_for_large_logits():
    logits, labels = sampled(0, 1.0)
    assert negative_log_likelihood(logits, labels) == pytest.approx(log_loss(labels, softmax(logits, axis=1)))
    assert negative_log_likelihood(np.array([[1e4, -1e4], [0.0, 1e4]]), np.array([0, 0])) == pytest.approx(5e3)


def test_a_shift_of_the_logits_and_the_order_of_samples_and_classes_do_not_matter():
    logits, labels = sampled(1, 2.0)
    once = best_temperature(logits, labels)
    order, classes = np.random.default_rng(0).permutation(len(labels)), np.array([2, 0, 1])
    shifted = (logits + np.linspace(-9, 9, len(labels))[:, None])[order][:, classes]
    assert best_temperature(shifted, np.argsort(classes)[labels[order]]) == pytest.approx(once, rel=1e-4)
    assert best_temperature(3 * logits, labels) == pytest.approx(3 * once, rel=1e-3)


def test_a_teacher_that_is_always_right_has_the_smallest_temperature_and_a_warning():
    logits = np.eye(3)[[0, 1, 2, 1]]
    with pytest.warns(UserWarning, match=r"4 validation samples is at its bound, 0\.05"):
        assert best_temperature(logits, np.array([0, 1, 2, 1])) == pytest.approx(BOUNDS[0])


def test_a_teacher_worse_than_chance_has_the_largest_temperature_and_a_warning():
    with pytest.warns(UserWarning, match="at its bound, 20"):
        assert best_temperature(np.eye(3)[[0, 1, 2]] * 5, np.array([1, 2, 0])) == pytest.approx(BOUNDS[1])


def test_where_the_temperature_changes_nothing_it_is_one():
    assert best_temperature(np.full((4, 3), 7.0), np.array([0, 1, 2, 0])) == 1.0


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros((0, 3)), np.zeros(0, int), r"logits \(N, K\) and labels \(N,\) are wanted, got \(0, 3\)"),
        (np.zeros((2, 3)), np.zeros(3, int), r"got \(2, 3\) and \(3,\)"),
        (np.zeros((2, 3)), np.array([0, 3]), "labels are 0 .. 3, logits have 3 classes"),
        (np.zeros((2, 3)), np.array([-1, 0]), "labels are -1 .. 0"),
        (np.array([[0.0, np.nan]]), np.array([0]), "logits that are not finite"),
    ],
)
def test_samples_that_cannot_be_fitted_are_refused(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        best_temperature(logits, labels)


class Scaled(nn.Module):
    """A teacher that reads its logits from the image, and is surer where it is told to be."""

    privileged_keys = ("factor",)

    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout(0.9)

    def forward(self, image, factor):
        return self.dropout(image[:, :, 0, 0]) * factor[:, None]


def batches(logits, labels, size=64):
    images = torch.as_tensor(logits, dtype=torch.float32)[:, :, None, None]
    for start in range(0, len(labels), size):
        part = slice(start, start + size)
        label = torch.as_tensor(labels[part])
        yield {"image": images[part], "label": label, "factor": torch.full((len(label),), 2.0)}


def test_a_teacher_is_asked_in_eval_mode_with_all_that_it_wants():
    logits, labels = sampled(4, 1.5)
    fitted = fit_temperature(Scaled().train(), batches(logits, labels), "cpu")
    assert fitted == pytest.approx(best_temperature(2 * logits, labels), rel=1e-3)
    assert isinstance(fitted, float)


def test_batches_that_cannot_be_used_are_refused():
    logits, labels = sampled(4, 1.5, samples=8)
    with pytest.raises(ValueError, match="no batches"):
        fit_temperature(Scaled(), [], "cpu")
    soft = [{**batch, "label": torch.eye(3)[batch["label"]]} for batch in batches(logits, labels)]
    with pytest.raises(ValueError, match=r"classes \(B,\), the batches give \(8, 3\)"):
        fit_temperature(Scaled(), soft, "cpu")
    bare = [{"image": batch["image"], "label": batch["label"]} for batch in batches(logits, labels)]
    with pytest.raises(ValueError, match="Scaled wants `factor`"):
        fit_temperature(Scaled(), bare, "cpu")
