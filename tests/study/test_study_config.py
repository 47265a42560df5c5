"""The file of a study: what is taken, and what is refused by name of file and field."""

import json
from pathlib import Path

import pytest

from kdmri_monai.study.config import StudyError, read_study

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "bundles" / "kd" / "configs"
GOOD = {
    "name": "x",
    "folds": [0, 1],
    "seeds": [0],
    "settings": {"image_size": 64, "max_epochs": 2},
    "teachers": {"imagenet": {"overlays": ["imagenet_teacher"], "settings": {"max_epochs": 1}}},
    "arms": {"student": {"overlays": ["baseline"]}, "kd": {"overlays": ["terms_kd"], "teacher": "imagenet"}},
    "reference": "student",
}


@pytest.fixture
def read(tmp_path):
    def read(**changes):
        content = {name: value for name, value in (GOOD | changes).items() if value is not None}
        (tmp_path / "study.json").write_text(json.dumps(content))
        return read_study(tmp_path / "study.json", CONFIGS)

    return read


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.json")), ids=lambda path: path.stem)
def test_every_shipped_study_can_be_read(path):
    study = read_study(path, CONFIGS)
    assert study.reference in study.arms


def test_what_stands_in_the_file_is_what_is_run(read):
    study = read()
    assert (study.folds, study.seeds, study.reference) == ((0, 1), (0,), "student")
    assert study.arms["kd"].teacher == "imagenet"
    assert study.arms["student"].teacher is None
    assert study.teachers["imagenet"].settings == {"max_epochs": 1}
    assert not study.examine


def arms(**kd):
    return {"student": {"overlays": ["baseline"]}, "kd": {"teacher": "imagenet"} | kd}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folds": None}, "study.json: folds is missing"),
        ({"folds": [0, 0]}, r"folds is \[0, 0\]"),
        ({"seeds": []}, "seeds is"),
        ({"seeds": [True]}, "seeds is"),
        ({"epochs": 3}, "epochs is not known"),
        ({"reference": "other"}, "reference is 'other', the arms are student, kd"),
        ({"arms": {}}, "arms is empty"),
        ({"arms": arms(teacher="other")}, "arms.kd.teacher is 'other', the teachers are: imagenet"),
        ({"arms": arms(overlay=[])}, "arms.kd.overlay is not known"),
        ({"arms": arms(overlays="terms_kd")}, "arms.kd.overlays is 'terms_kd', expected a list"),
        ({"arms": {"a/b": {}} | arms()}, "arms.a/b is no name for a folder"),
        ({"arms": arms(settings={"max_epochs": 3})}, "arms.kd.settings sets max_epochs: every arm is trained alike"),
        ({"arms": arms(settings={"optimizer#lr": 0.1})}, "sets optimizer#lr: every arm"),
        ({"arms": arms(settings={"train#sampler": {}})}, "sets train#sampler: every arm"),
        ({"arms": arms(overlays=["mixup"])}, "mixup.json sets mixing: every arm is trained alike"),
        ({"arms": arms(settings={"datalist": "d"})}, "sets datalist: the study sets it itself"),
        ({"settings": {"output_dir": "o"}}, "settings sets output_dir: the study sets it itself"),
    ],
)
def test_what_cannot_be_run_is_refused_by_file_and_field(read, changes, message):
    with pytest.raises(StudyError, match=message):
        read(**changes)


def test_a_missing_overlay_is_named(read):
    with pytest.raises(FileNotFoundError, match=r"arms.kd.overlays names fantasy, there is no .*fantasy"):
        read(arms=arms(overlays=["fantasy"]))


def test_mixing_for_all_arms_is_a_setting_of_the_study(read):
    assert read(settings={"mixing": None}).settings == {"mixing": None}
