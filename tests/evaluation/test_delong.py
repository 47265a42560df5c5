import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from kdmri_monai.evaluation.delong import correlated_areas, delong
from kdmri_monai.evaluation.errors import ComparisonError
from kdmri_monai.evaluation.predictions import Predictions, by_patient


def structural_components(positive, scores):
    """DeLong et al. 1988, equations 4 to 6: every positive against every negative."""
    fields = []
    for score in scores:
        difference = score[positive][:, None] - score[~positive][None]
        kernel = (difference > 0) + 0.5 * (difference == 0)
        fields.append((kernel.mean(), kernel.mean(axis=1), kernel.mean(axis=0)))
    areas = np.array([area for area, _, _ in fields])
    v10, v01 = (np.stack([field[side] for field in fields]) - areas[:, None] for side in (1, 2))
    m, n = v10.shape[1], v01.shape[1]
    return areas, v10 @ v10.T / (m - 1) / m + v01 @ v01.T / (n - 1) / n


def patients(skill, count=60, seed=0, decimals=None):
    """One patient a row; probabilities that know the class the better the higher ``skill``; patients are hard alike."""
    shared, own = np.random.default_rng(99), np.random.default_rng(seed)
    label = np.arange(count) % 3
    logits = skill * np.eye(3)[label] + shared.normal(size=(count, 3)) + own.normal(size=(count, 3))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if decimals is not None:
        first = np.round(probabilities[:, 1], decimals)
        probabilities = np.stack([(1 - first) / 2, first, (1 - first) / 2], axis=1)
    names = np.array([f"p{number:03d}" for number in range(count)])
    return Predictions(names, names, names, label, probabilities)


@pytest.mark.parametrize("decimals", [None, 1])
def test_it_equals_the_structural_components_with_and_without_ties(decimals):
    new, old = patients(1.6, seed=1, decimals=decimals), patients(0.8, seed=2, decimals=decimals)
    positive = old.label == 1
    scores = np.stack([new.probabilities[:, 1], old.probabilities[:, 1]])
    areas, covariance = structural_components(positive, scores)
    found = delong(new, old, "glioma", level=0.9)
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert (found.candidate, found.reference) == pytest.approx(tuple(areas))
    assert found.standard_error == pytest.approx(error)
    assert found.p == pytest.approx(2 * norm.sf(abs(areas[0] - areas[1]) / error))
    bounds = norm.interval(0.9, areas[0] - areas[1], error)
    assert (found.low, found.high, found.level) == pytest.approx((*bounds, 0.9))
    assert correlated_areas(positive, scores)[1] == pytest.approx(covariance)


def test_the_areas_are_those_of_scikit_learn():
    new, old = patients(1.6, seed=1), patients(0.8, seed=2)
    for k, name in enumerate(old.classes):
        found = delong(new, old, name)
        expected = [roc_auc_score(old.label == k, table.probabilities[:, k]) for table in (new, old)]
        assert [found.candidate, found.reference] == pytest.approx(expected)
        assert found.difference == pytest.approx(expected[0] - expected[1])


def test_networks_of_equal_skill_are_told_apart_about_as_often_as_the_level_says():
    rng = np.random.default_rng(3)
    positive = np.arange(80) < 30
    told = 0
    for _ in range(1000):
        scores = positive + rng.normal(size=80) + rng.normal(size=(2, 80))
        areas, covariance = correlated_areas(positive, scores)
        contrast = np.array([1, -1])
        told += abs(areas @ contrast) > 1.96 * np.sqrt(contrast @ covariance @ contrast)
    assert 0.03 <= told / 1000 <= 0.075


def test_a_network_against_itself_and_against_its_reverse():
    table = patients(1.0)
    same = delong(table, table, "glioma")
    assert (same.difference, same.standard_error, same.p) == (0, 0, 1)
    ideal = Predictions(table.id, table.patient, table.family, table.label, 0.1 + 0.7 * np.eye(3)[table.label])
    wrong = Predictions(table.id, table.patient, table.family, table.label, 0.45 - 0.35 * np.eye(3)[table.label])
    reverse = delong(ideal, wrong, "glioma")
    assert (reverse.difference, reverse.standard_error) == (1, 0)
    assert np.isnan(reverse.p)


def test_swapping_the_networks_turns_the_sign():
    new, old = patients(1.6, seed=1), patients(0.8, seed=2)
    one, other = delong(new, old, "glioma"), delong(old, new, "glioma")
    assert (one.difference, one.p) == pytest.approx((-other.difference, other.p))
    shuffled = new.take(np.random.default_rng(0).permutation(len(new)))
    assert delong(shuffled, old, "glioma") == one


def test_what_it_cannot_answer_is_refused(predictions):
    with pytest.raises(ComparisonError, match=r"DeLong's test takes rows for independent, but patient"):
        delong(predictions, predictions, "glioma")
    with pytest.raises(ComparisonError, match=r"but family '\w+' has 2"):
        delong(by_patient(predictions), by_patient(predictions), "glioma")
    table = patients(1.0)
    with pytest.raises(ValueError, match="class is 'lymphoma', allowed are meningioma"):
        delong(table, table, "lymphoma")
    with pytest.raises(ValueError, match="level is 95"):
        delong(table, table, "glioma", level=95)
    few = table.take(np.flatnonzero(table.label != 1)[:9])
    with pytest.raises(ComparisonError, match="0 of 9 patients have glioma"):
        delong(few, few, "glioma")
