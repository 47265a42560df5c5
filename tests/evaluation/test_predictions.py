import math

import numpy as np
import pytest

from kdmri_monai.evaluation.errors import PredictionError
from kdmri_monai.evaluation.predictions import FLOOR, Predictions, by_patient


def reference_by_patient(rows):
    """Mean log-probability by loops: rows of (patient, probabilities)."""
    slices = {}
    for patient, probabilities in rows:
        slices.setdefault(patient, []).append(probabilities)
    means = {}
    for patient, members in slices.items():
        logs = [sum(math.log(max(p[k], 2.220446049250313e-16)) for p in members) / len(members) for k in range(3)]
        total = sum(math.exp(value) for value in logs)
        means[patient] = [math.exp(value) / total for value in logs]
    return means


def table(**changes):
    columns = {
        "id": ["1", "2", "3"],
        "patient": ["A", "A", "B"],
        "family": ["A", "A", "B"],
        "label": [0, 0, 2],
        "probabilities": [[0.5, 0.25, 0.25], [0.0, 1.0, 0.0], [0.1, 0.2, 0.7]],
    }
    return Predictions(**(columns | changes))


def test_patients_get_the_mean_log_probability(predictions):
    patients = by_patient(predictions)
    expected = reference_by_patient(zip(predictions.patient.tolist(), predictions.probabilities.tolist(), strict=True))
    assert patients.id.tolist() == sorted(expected)
    np.testing.assert_allclose(patients.probabilities, [expected[name] for name in sorted(expected)], rtol=1e-12)
    assert patients.patient.tolist() == patients.id.tolist()
    label = dict(zip(predictions.patient.tolist(), predictions.label.tolist(), strict=True))
    family = dict(zip(predictions.patient.tolist(), predictions.family.tolist(), strict=True))
    assert patients.label.tolist() == [label[name] for name in sorted(expected)]
    assert patients.family.tolist() == [family[name] for name in sorted(expected)]


def test_a_probability_of_zero_does_not_make_a_patient_undefined():
    patients = by_patient(table())
    expected = np.array([math.sqrt(0.5 * FLOOR), math.sqrt(0.25), math.sqrt(0.25 * FLOOR)])
    np.testing.assert_allclose(patients.probabilities[0], expected / expected.sum(), rtol=1e-12)


def test_slices_that_contradict_one_another_at_certainty_leave_a_patient_even():
    contradiction = table(probabilities=[[1, 0, 0], [0, 1, 0], [0.1, 0.2, 0.7]])
    np.testing.assert_allclose(by_patient(contradiction).probabilities[0, :2], [0.5, 0.5], rtol=1e-7)


def test_equal_probabilities_give_the_first_class():
    assert table(probabilities=[[0.4, 0.4, 0.2]] * 3).prediction.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": [0, 3, 1]}, "row 2: column label: is 3, allowed are 0..2"),
        ({"label": [0, 0, -1]}, "row 3: column label: is -1"),
        ({"id": ["1", "2", "1"]}, "row 3: column id: '1' already stands in row 1"),
        ({"id": ["1", "", "3"]}, "row 2: column id: is empty"),
        ({"family": ["A", "A", ""]}, "row 3: column family: is empty"),
        ({"patient": ["A", "A"]}, r"column patient: has shape \(2,\), expected \(3,\)"),
        ({"probabilities": np.full((3, 2), 0.5)}, r"shape \(3, 2\), expected \(3, 3\)"),
        ({"probabilities": [[1, 0, 0], [0, 1, 0], [1.5, -0.5, 0]]}, "row 3: column p_meningioma: 1.5 is outside"),
        ({"probabilities": [[1, 0, 0], [0, 1, 0], [0, 0, math.nan]]}, "row 3: column p_pituitary_tumour: nan is outs"),
        ({"probabilities": [[1, 0, 0], [0.5, 0.4, 0], [0, 0, 1]]}, "row 2: .*sum is 0.9, not 1 within 0.0001"),
        ({name: [] for name in ("id", "patient", "family", "label")} | {"probabilities": np.ones((0, 3))}, "no rows"),
    ],
)
def test_a_table_that_cannot_be_trusted_is_refused_with_its_row(changes, message):
    with pytest.raises(PredictionError, match=message):
        table(**changes)


def test_sums_within_the_tolerance_are_kept_as_they_are():
    probabilities = np.array([[0.5, 0.3, 0.20005], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_array_equal(table(probabilities=probabilities).probabilities, probabilities)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": [0, 1, 2]}, "row 2: column label: patient 'A' has both 0 and 1"),
        ({"family": ["A", "C", "B"]}, "row 2: column family: patient 'A' has both A and C"),
    ],
)
def test_a_patient_with_two_labels_or_families_is_refused(changes, message):
    with pytest.raises(PredictionError, match=message):
        by_patient(table(**changes))
