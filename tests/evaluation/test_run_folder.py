"""Run folders as training and evaluation leave them are read, and nothing in them is executed."""

import json

import numpy as np
import pytest

from kdmri_monai.evaluation.errors import ComparisonError
from kdmri_monai.evaluation.metrics_file import evaluate_predictions, write_metrics
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.predictions_file import write_predictions
from kdmri_monai.evaluation.run_folder import RunFolder, RunFolderError

RECORD = {
    "command": [
        "monai.bundle",
        "run",
        "training",
        "--seed",
        "3",
        "--teacher_geometry#from_mask",
        "['distance','rings']",
    ],
    "settings": {"seed": 3, "image_size": 64, "network_uses": "image alone"},
    "data": {"fold": 2, "group_rule": "family", "training_families": ["MR001", "77"]},
}
TEACHER = {
    "network_def": "%teacher_def",
    "teacher_def": {"_target_": "kdmri_monai.networks.GeometryTeacher", "geometry": "@teacher_geometry"},
    "teacher_geometry": {"from_mask": ["normal"], "from_image": ["hessian"]},
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "kd_3").mkdir()
    return tmp_path / "kd_3"


def write(folder, name, content):
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))


def test_a_record_tells_name_seed_and_fold(folder):
    write(folder, "run.json", RECORD)
    run = RunFolder(folder)
    assert (run.name, run.seed, run.fold, run.given) == ("kd_3", 3, 2, "")
    assert run.settings["image_size"] == 64
    assert run.data["group_rule"] == "family"
    write(folder, "run.json", {**RECORD, "name": "kd"})
    assert RunFolder(folder).name == "kd"


def test_predictions_of_another_program_are_a_run_of_which_little_is_known(folder, predictions):
    write_predictions(predictions, folder / "test_predictions.csv")
    run = RunFolder(folder)
    assert len(run.predictions()) == len(predictions)
    assert (run.name, dict(run.record), run.seed, run.fold, run.given) == ("kd_3", {}, None, None, "")
    assert (run.config, run.checkpoint, run.history) == (None, None, None)
    assert (run.metrics(), run.evidence("validation"), run.leak(predictions)) == (None, None, "")
    with pytest.raises(RunFolderError, match=r"kd_3: has no validation_predictions\.csv; evaluate the run first"):
        run.predictions("validation")


def test_what_training_and_evaluation_wrote_is_found(folder, predictions):
    write(folder, "run.json", RECORD)
    write(folder, "model.pt", "weights")
    write(folder, "metrics.jsonl", '{"epoch": 1, "validation": {"balanced_accuracy": 0.5}, "n": {"validation": 9}}\n')
    metrics = evaluate_predictions(predictions, replicates=20)
    write_metrics(metrics, folder / "test_metrics.json")
    sections = {"controls": {"rows": []}}
    write(folder, "validation_evidence.json", {"format": "kdmri-evidence-2", "sections": sections})
    run = RunFolder(folder)
    assert run.checkpoint == folder / "model.pt"
    assert run.history.column("validation", "balanced_accuracy").tolist() == [0.5]
    assert run.metrics("test")["slices"]["accuracy"]["value"] == metrics["slices"]["accuracy"]["value"]
    assert run.metrics("test")["slices"]["ece"]["low"] is None
    assert run.evidence("validation") == sections
    assert run.evidence("test") is None


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", r"run\.json: is not JSON"),
        ("[1]", r"run\.json: holds no JSON object"),
        ({"name": 3}, r"run\.json: name is 3, a text is expected"),
        ({"settings": [1]}, r"run\.json: settings is \[1\], an object is expected"),
        ({"settings": {"seed": "0"}}, r"run\.json: settings\.seed is '0', a whole number is expected"),
        ({"settings": {"seed": True}}, r"settings\.seed is True"),
        ({"data": {"fold": 1.5}}, r"run\.json: data\.fold is 1\.5, a whole number is expected"),
        ({"data": 7}, "data"),
    ],
)
def test_a_record_of_another_form_is_refused_by_file_and_field(folder, content, told):
    write(folder, "run.json", content)
    with pytest.raises(ComparisonError, match=told):
        _ = (run := RunFolder(folder)).name, run.settings, run.seed, run.data, run.fold


def test_a_folder_that_is_not_there_is_refused(folder):
    with pytest.raises(RunFolderError, match=r"there is no run folder .*kd_4"):
        RunFolder(folder.with_name("kd_4"))


def test_the_record_says_what_the_network_was_given(folder):
    uses = "image; from the image: hessian; from the tumour mask: distance, rings"
    write(folder, "run.json", {**RECORD, "settings": {"network_uses": uses}})
    assert RunFolder(folder).given == "the tumour mask: distance, rings"


@pytest.mark.parametrize(
    ("changes", "given"),
    [
        ({}, "the tumour mask: distance, rings"),
        ({"network_def": "%student_def", "student_def": {"_target_": "resnet10"}}, ""),
        ({"network_def": {"_target_": "resnet10"}}, ""),
        ({"network_def": "@gone"}, ""),
        ({"network_def": "@a", "a": "@network_def"}, ""),
    ],
)
def test_an_older_run_tells_by_its_configuration(folder, changes, given):
    write(folder, "run.json", {**RECORD, "settings": {"seed": 3}})
    write(folder, "config.json", {**TEACHER, **changes})
    assert RunFolder(folder).given == given
    bare = {**RECORD, "settings": {}, "command": ["monai.bundle", "--teacher_geometry#from_mask", "[]"]}
    write(folder, "run.json", bare)
    assert RunFolder(folder).given == ""


def test_the_configuration_has_the_overrides_and_is_not_executed(folder, tmp_path):
    write(folder, "run.json", {**RECORD, "settings": {}})
    mark = f"$__import__('pathlib').Path({str(tmp_path / 'executed')!r}).touch()"
    write(folder, "config.json", {**TEACHER, "seed": 0, "imports": [mark], "network_def": mark, "terms": mark})
    run = RunFolder(folder)
    assert run.config["seed"] == 3
    assert run.config["teacher_geometry"] == {"from_mask": ["distance", "rings"], "from_image": ["hessian"]}
    assert (run.config["terms"], run.given) == (mark, "")
    assert not (tmp_path / "executed").exists()


def table(patients, families):
    names, label = np.array(patients), np.zeros(len(patients), dtype=np.int64)
    return Predictions(
        np.arange(len(names)).astype(str), names, np.array(families), label, np.full((len(names), 3), 1 / 3)
    )


def test_patients_that_were_learned_from_are_told(folder):
    write(folder, "run.json", RECORD)
    run = RunFolder(folder)
    assert run.leak(table(["5", "6", "6"], ["5", "6", "6"])) == ""
    assert run.leak(table(["77", "77", "6"], ["77", "77", "6"])) == "1 of 2 patient families were trained on"
    # the family of a patient may bear the name of another who shares an image
    assert run.leak(table(["MR001B", "5"], ["100", "5"])) == "1 of 2 patient families were trained on"
    write(folder, "run.json", {"data": {"group_rule": "slice"}})
    assert RunFolder(folder).leak(table(["5"], ["5"])) == "split by slice, not by patient"
