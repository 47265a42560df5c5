"""Goals of a study, temperatures that mean nothing, and what examinations add."""

import json
import math

import numpy as np
import pytest

from kdmri_monai.evaluation.arms import Arm
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.run_folder import RunFolder
from kdmri_monai.study.results_goals import GOALS, Goal
from kdmri_monai.study.results_numbers import _examined, temperature_of


def arm(value, low=None, network="ResNet"):
    return {"network": network, "numbers": {"x": {"value": value, "low": low, "high": None}}}


@pytest.mark.parametrize(
    ("goal", "given", "met"),
    [
        (Goal("x", "", 0.9), arm(0.9), True),
        (Goal("x", "", 0.9), arm(0.899), False),
        (Goal("x", "", 0.6, most=True), arm(0.6), True),
        (Goal("x", "", 0.6, most=True), arm(0.61), False),
        (Goal("x", "", 0.03, excludes_zero=True), arm(0.04, 0.01), True),
        (Goal("x", "", 0.03, excludes_zero=True), arm(0.04, -0.01), False),
        (Goal("x", "", 0.03, excludes_zero=True), arm(0.04), False),
        (Goal("x", "", 0.03, for_transformers=0.05), arm(0.04), True),
        (Goal("x", "", 0.03, for_transformers=0.05), arm(0.04, network="FirstOutput of ViT"), False),
        (Goal("x", "", 0.9), arm(None), None),
        (Goal("x", "", 0.9), arm(math.nan), None),
        (Goal("y", "", 0.9), arm(0.95), None),
    ],
)
def test_a_goal_is_met_missed_or_not_measured(goal, given, met):
    assert goal.is_met(given) is met


def test_every_goal_has_a_number_of_its_own():
    assert len({goal.key for goal in GOALS}) == len(GOALS)


def test_a_temperature_is_1_where_validation_does_not_tell():
    label = np.arange(12) % 3
    names = np.arange(12).astype(str)
    right = np.where(np.arange(3) == label[:, None], 0.8, 0.1)
    assert temperature_of(Predictions(names, names, names, label, right)) == 1.0
    mixed = right[[1, *range(1, 12)]]  # one wrong
    assert temperature_of(Predictions(names, names, names, label, mixed)) != 1.0


@pytest.fixture
def examined(tmp_path):
    """Four runs, two folds of two seeds, with evidence of slices, energy, area and accuracy without the tumour."""

    def write(found):
        runs = []
        for place, one in enumerate(found):
            folder = tmp_path / f"{len(list(tmp_path.iterdir()))}_{place}"
            folder.mkdir()
            (folder / "run.json").write_text(
                json.dumps({"settings": {"seed": place // 2}, "data": {"fold": place % 2}})
            )
            if one is not None:
                (folder / "test_evidence.json").write_text(json.dumps(evidence(*one)))
            runs.append(RunFolder(folder))
        return Arm("kd", tuple(runs))

    return write


def evidence(slices, without_heat, energy, area, inpainted):
    rollout = {"method": "attention_rollout", "without_heat": 0, "energy": {"value": 9.0}, "area": {"value": 1.0}}
    cam = {"method": "grad_cam", "without_heat": without_heat, "energy": {"value": energy}, "area": {"value": area}}
    rows = [{"name": "intact", "value": 0.9, "n": slices}, {"name": "erased_inpaint", "value": inpainted, "n": slices}]
    sections = {"localisation": {"slices": slices, "methods": [rollout, cam]}, "network_controls": {"rows": rows}}
    return {"format": "kdmri-evidence-2", "sections": sections}


def test_what_was_examined_is_weighed_by_slices_and_averaged_over_seeds(examined):
    found = _examined(
        examined([(100, 0, 0.2, 0.1, 0.5), (310, 10, 0.3, 0.1, 0.7), (100, 0, 0.1, 0.1, 0.6), (310, 10, 0.1, 0.1, 0.6)])
    )
    assert found["cam"]["value"] == pytest.approx(((20 + 90) / 40 + 1) / 2)
    assert found["inpainted"]["value"] == pytest.approx(((50 + 217) / 410 + 0.6) / 2)


@pytest.mark.parametrize("fault", [None, (100, 0, None, 0.1, None)])
def test_an_arm_of_which_a_run_was_not_examined_has_no_such_numbers(examined, fault):
    whole = (100, 0, 0.2, 0.1, 0.5)
    assert _examined(examined([whole, whole, whole, fault])) == {}
