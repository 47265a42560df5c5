"""Mistakes by patient, counted by hand."""

import numpy as np
import pytest

from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.study.results_mistakes import mistakes_of

LABEL = [0, 0, 0, 0, 1, 1, 1, 2, 2]
PATIENT = ["a", "a", "a", "a", "b", "b", "b", "c", "c"]


def table(said, rows=None, label=LABEL, patient=PATIENT):
    """Slices s0, s1, ... and a sure answer to each."""
    name = np.char.add("s", np.arange(len(said)).astype(str))
    whole = Predictions(name, patient, patient, label, np.eye(3)[said])
    return whole if rows is None else whole.take(np.array(rows))


def test_wrong_slices_are_counted_by_patient_worst_first():
    found = mistakes_of([table([0, 2, 2, 1, 1, 1, 0, 2, 2])])
    assert (found["slices"], found["patients"], found["wrong"], found["half_in"]) == (9, 3, 4, 1)
    assert found["taught"] is None
    assert found["worst"] == [
        {"patient": "a", "label": "meningioma", "slices": 4, "wrong": 3, "taken_for": "pituitary tumour"},
        {"patient": "b", "label": "glioma", "slices": 3, "wrong": 1, "taken_for": "meningioma"},
    ]


def test_seeds_are_averaged_whatever_the_order_of_their_rows():
    first, second = table([1, 0, 0, 0, 0, 0, 1, 2, 2]), table([1, 1, 0, 0, 1, 1, 1, 2, 2], [8, 3, 0, 1, 7, 2, 6, 4, 5])
    found = mistakes_of([first, second])
    assert found["wrong"] == pytest.approx(2.5)
    assert [(one["patient"], one["wrong"]) for one in found["worst"]] == [("a", 1.5), ("b", 1.0)]
    assert found["half_in"] == 1


@pytest.mark.parametrize(("wrong", "half"), [([4, 3, 2], 2), ([1, 1, 1], 2), ([0, 0, 0], 0), ([5, 4, 1], 1)])
def test_half_of_the_mistakes_lie_in_so_many_patients(wrong, half):
    patient = np.repeat(["a", "b", "c"], 5).tolist()
    said = np.concatenate([np.arange(5) < number for number in wrong]).astype(int)
    assert mistakes_of([table(said, label=[0] * 15, patient=patient)])["half_in"] == half


def test_the_share_of_the_teacher_is_of_the_slices_that_the_arm_has_wrong():
    arm, teacher = table([1, 1, 0, 0, 1, 1, 0, 2, 2]), table([1, 0, 1, 0, 1, 1, 0, 2, 2], [3, 4, 5, 6, 7, 8, 0, 1, 2])
    assert mistakes_of([arm], teacher)["taught"] == pytest.approx(2 / 3)
    assert mistakes_of([table(LABEL)], teacher)["taught"] is None


def test_other_slices_are_refused():
    arm = table(LABEL)
    with pytest.raises(ValueError, match="these tables have others"):
        mistakes_of([arm], arm.take(np.arange(8)))
    with pytest.raises(ValueError, match="these tables have others"):
        mistakes_of([arm, table(LABEL, rows=[0, 1, 2, 3, 4, 5, 6, 7])])
