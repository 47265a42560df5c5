"""Temperatures of tables against scikit-learn's log loss, SciPy's optimiser, and the sibling for a network."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.metrics import log_loss
from torch import nn

from kdmri_monai.data.errors import LeakageError
from kdmri_monai.engines.calibration import BOUNDS, fit_temperature
from kdmri_monai.evaluation.errors import ComparisonError
from kdmri_monai.evaluation.metrics_file import write_metrics
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.reliability import reliability_bins
from kdmri_monai.evaluation.resampling import Resampling
from kdmri_monai.evaluation.temperature import calibration_before_after, fit_table_temperature, scaled


def drawn(seed, temperature, families=40, prefix="f"):
    """Logits whose labels are drawn from their softmax over a temperature, and the table of their plain softmax."""
    rng = np.random.default_rng(seed)
    family = np.repeat(np.arange(families), rng.integers(3, 20, families))
    logits = rng.normal(0, 3, (len(family), 3))
    chances = softmax(logits / temperature, axis=1)
    label = np.array([rng.choice(3, p=chance) for chance in chances])
    names = np.array([f"{prefix}{number:02d}" for number in family])
    ids = np.array([f"{prefix}-{number}" for number in range(len(family))])
    return logits, Predictions(ids, names, names, label, softmax(logits, axis=1))


def reference_temperature(logits, label):
    """Where another optimiser finds scikit-learn's loss smallest, over 1 / T, in which it is convex."""
    found = minimize_scalar(
        lambda slope: log_loss(label, softmax(slope * logits, axis=1), labels=range(3)),
        bounds=(0.05, 5),
        method="bounded",
        options={"xatol": 1e-8},
    )
    return 1 / found.x


class Given(nn.Module):
    """A network whose logits are its images."""

    def forward(self, image):
        return image[:, :, 0, 0]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_has_the_smallest_log_loss(temperature):
    logits, table = drawn(int(10 * temperature), temperature)
    fitted = fit_table_temperature(table)
    assert fitted == pytest.approx(reference_temperature(logits, table.label), rel=1e-4)
    assert fitted == pytest.approx(temperature, rel=0.25)


def test_a_table_has_the_temperature_of_the_network_that_it_is_of():
    logits, table = drawn(3, 1.8)
    images = torch.as_tensor(logits, dtype=torch.float64)[:, :, None, None]
    batches = [
        {"image": images[start : start + 50], "label": torch.as_tensor(table.label[start : start + 50])}
        for start in range(0, len(table), 50)
    ]
    assert fit_table_temperature(table) == pytest.approx(fit_temperature(Given(), batches, "cpu"), rel=1e-5)


def test_where_all_slices_are_right_the_temperature_is_at_its_bound_with_a_warning():
    _, table = drawn(0, 1.0)
    right = table.take(table.prediction == table.label)
    with pytest.warns(UserWarning, match="at its bound, 0.05"):
        assert fit_table_temperature(right) == pytest.approx(BOUNDS[0])


def test_scaling_divides_the_logits_and_keeps_the_decisions():
    logits, table = drawn(1, 2.0)
    cooler = scaled(table, 2.5)
    np.testing.assert_allclose(cooler.probabilities, softmax(logits / 2.5, axis=1), atol=1e-12)
    np.testing.assert_array_equal(cooler.prediction, table.prediction)
    np.testing.assert_array_equal(cooler.id, table.id)
    np.testing.assert_allclose(scaled(cooler, 0.4).probabilities, table.probabilities, atol=1e-12)


def test_probabilities_of_zero_stay_finite():
    names = np.array(["a", "b"])
    table = Predictions(names, names, names, np.array([0, 1]), np.array([[1.0, 0, 0], [0.5, 0.5, 0]]))
    assert scaled(table, 3.0).probabilities[0, 0] == pytest.approx(1 / (1 + 2 * np.finfo(float).eps ** (1 / 3)))
    np.testing.assert_allclose(scaled(table, 1.0).probabilities, table.probabilities, atol=1e-15)


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.inf, np.nan])
def test_a_temperature_without_meaning_is_refused(temperature):
    with pytest.raises(ValueError, match=f"temperature is {temperature}"):
        scaled(drawn(0, 1.0)[1], temperature)


def test_calibration_of_a_network_that_is_too_sure_gets_better():
    validation, (logits, test) = drawn(5, 2.5, prefix="v")[1], drawn(6, 2.5)
    result = calibration_before_after(validation, test, resampling=Resampling(300))
    assert result["temperature"] == fit_table_temperature(validation)
    assert result["at_bound"] is False
    after = softmax(logits / result["temperature"], axis=1)
    for when, probabilities in (("before", test.probabilities), ("after", after)):
        assert result[when]["nll"]["value"] == pytest.approx(log_loss(test.label, probabilities, labels=range(3)))
        squares = ((probabilities - np.eye(3)[test.label]) ** 2).sum(axis=1)
        assert result[when]["brier"]["value"] == pytest.approx(squares.mean())
        shown = result[when]["reliability"]["width"]
        gaps = np.abs(np.array(shown["accuracy"]) - np.array(shown["confidence"])) * shown["count"] / len(test)
        assert result[when]["ece"]["value"] == pytest.approx(np.nansum(gaps))
    assert result["after"]["ece"]["value"] < 0.5 * result["before"]["ece"]["value"]
    assert result["difference"]["nll"]["high"] < 0
    assert result["before"]["reliability"]["count"] == asdict(reliability_bins(test, 15, "count"))
    assert result["validation"] == {"slices": len(validation), "families": 40}


def test_the_result_can_be_written_as_json(tmp_path):
    result = calibration_before_after(drawn(1, 1.0, prefix="v")[1], drawn(2, 1.0)[1], 10, Resampling(50))
    write_metrics(result, tmp_path / "calibration.json")
    read = json.loads((tmp_path / "calibration.json").read_text())
    assert read["temperature"] == result["temperature"]
    assert read["difference"]["ece"]["low"] is None
    assert len(read["after"]["reliability"]["width"]["count"]) == 10


def test_an_unfitted_temperature_is_marked():
    _, table = drawn(0, 1.0, prefix="v")
    with pytest.warns(UserWarning, match="at its bound"):
        result = calibration_before_after(table.take(table.prediction == table.label), drawn(2, 1.0)[1])
    assert result["at_bound"] is True


def test_patients_of_the_test_cannot_be_fitted_to():
    _, table = drawn(0, 1.0)
    half = table.take(np.isin(table.family, ["f03", "f01"]))
    with pytest.raises(LeakageError, match=r"in both are: f01, f03$"):
        calibration_before_after(half, table)
    with pytest.raises(LeakageError, match=r"f00, f01, f02, f03, f04 and 35 others"):
        calibration_before_after(table, table)


def test_tables_of_other_classes_are_refused():
    _, table = drawn(0, 1.0)
    columns = (getattr(table, name) for name in ("id", "patient", "family", "label", "probabilities"))
    with pytest.raises(ComparisonError, match="classes of validation and test differ: a, b, c and meningioma"):
        calibration_before_after(Predictions(*columns, ("a", "b", "c")), table)
