"""Run folders, teachers and switches: nothing overwritten, nothing leaked, everything recorded."""

import importlib.metadata
import json
import sys

import pytest
import torch
from torch import nn

from kdmri_monai.data.errors import LeakageError
from kdmri_monai.engines import load_teacher, start_run, switched_on
from kdmri_monai.engines.explain import explain_failures, first_cause
from kdmri_monai.engines.run_record import config_files
from kdmri_monai.networks import WeightsError


def entry(number, patient, family, label):
    return {
        "image": f"images.npy#{number}",
        "label": label,
        "patient": patient,
        "family": family,
        "id": str(number),
        "fold": 0,
        "source": f"{number}.mat",
        "patient_source": "cjdata/PID",
        "size": [64, 64],
        "sha256": f"{number:064x}",
    }


@pytest.fixture
def datalist(tmp_path):
    splits = {
        "training": [entry(0, "100", "100", 0), entry(1, "MR1A", "MR1", 1)],
        "validation": [entry(2, "200", "200", 2)],
        "test": [entry(3, "MR2B", "MR2", 1)],
    }
    content = {
        "format": "kdmri-datalist-1",
        "name": "small",
        "description": "four slices",
        "numClasses": 3,
        "classes": ["meningioma", "glioma", "pituitary tumour"],
        "group_rule": "family",
        "folds": 5,
        "fold": 0,
        "seed": 0,
        **splits,
        "numTraining": 2,
        "numValidation": 1,
        "numTest": 1,
    }
    path = tmp_path / "datalist.json"
    path.write_text(json.dumps(content))
    return path


SETTINGS = {"seed": 0, "image_size": 64, "max_epochs": 3}


def test_a_run_records_what_it_was(tmp_path, datalist):
    folder = start_run(tmp_path / "run", SETTINGS, datalist)
    record = json.loads((folder / "run.json").read_text())
    assert record["settings"] == SETTINGS
    assert record["data"]["training_families"] == ["100", "MR1"]
    assert record["data"]["slices"] == {"training": 2, "validation": 1, "test": 1}
    assert record["environment"]["packages"]["torch"] == importlib.metadata.version("torch")
    assert record["command"] == sys.argv


def test_a_run_that_is_there_is_not_overwritten_unless_asked(tmp_path, datalist):
    folder = start_run(tmp_path / "run", SETTINGS, datalist)
    (folder / "checkpoint.pt").write_bytes(b"precious")
    with pytest.raises(FileExistsError, match=r"already holds a run; continue it with --resume true"):
        start_run(folder, SETTINGS, datalist)
    assert (folder / "checkpoint.pt").read_bytes() == b"precious"
    start_run(folder, SETTINGS, datalist, overwrite=True)
    assert not (folder / "checkpoint.pt").exists()


def test_overwriting_touches_only_folders_that_hold_a_run(tmp_path, datalist):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("x")
    start_run(tmp_path / "other", SETTINGS, datalist, overwrite=True)
    assert (tmp_path / "other" / "thesis.tex").exists()


def test_resuming_wants_the_same_settings_but_may_train_longer(tmp_path, datalist):
    folder = start_run(tmp_path / "run", SETTINGS, datalist)
    start_run(folder, SETTINGS | {"max_epochs": 9}, datalist, resume=True)
    with pytest.raises(ValueError, match="seed was 0 and is 1"):
        start_run(folder, SETTINGS | {"seed": 1}, datalist, resume=True)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["m", "run", "--config_file", "a.json", "--seed", "1"], ["a.json"]),
        (["m", "run", "--config_file", "['a.json','b.json']"], ["a.json", "b.json"]),
        (["m", "run"], []),
    ],
)
def test_config_files_are_found_on_the_command_line(arguments, expected):
    assert config_files(arguments) == expected


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "teacher" / "model.pt"
    path.parent.mkdir()
    torch.save(nn.Linear(3, 2).state_dict(), path)
    return path


def record(checkpoint, families, size=64):
    facts = {"data": {"training_families": families}, "settings": {"image_size": size}}
    checkpoint.with_name("run.json").write_text(json.dumps(facts))


def test_a_teacher_comes_frozen_and_in_eval_mode(checkpoint, datalist):
    record(checkpoint, ["100", "MR1"])
    teacher = load_teacher(nn.Linear(3, 2), checkpoint, datalist, 64)
    assert not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())
    assert torch.equal(teacher.weight, torch.load(checkpoint, weights_only=True)["weight"])


@pytest.mark.parametrize("seen", ["200", "MR2"])
def test_a_teacher_that_learned_from_held_out_patients_is_refused(checkpoint, datalist, seen):
    record(checkpoint, ["100", seen])
    with pytest.raises(LeakageError, match=rf"was trained on 1 patient families that .* holds out.*: {seen}"):
        load_teacher(nn.Linear(3, 2), checkpoint, datalist)


def test_families_that_were_merged_count_too(checkpoint, datalist):
    content = json.loads(datalist.read_text())
    content["test"][0]["family"] = "300"  # shares an image with patient 300
    datalist.write_text(json.dumps(content))
    record(checkpoint, ["100", "300"])
    with pytest.raises(LeakageError, match="300"):
        load_teacher(nn.Linear(3, 2), checkpoint, datalist)


def test_a_teacher_of_another_image_size_is_refused(checkpoint, datalist):
    record(checkpoint, ["100"], size=32)
    with pytest.raises(ValueError, match=r"trained at 32 pixels and would be shown 64.*pass --image_size 32"):
        load_teacher(nn.Linear(3, 2), checkpoint, datalist, image_size=64)


def test_a_teacher_of_unknown_origin_is_told(checkpoint, datalist, caplog):
    load_teacher(nn.Linear(3, 2), checkpoint, datalist, data_unknown=True)
    assert "whether it has seen our validation and test patients is not known" in caplog.text


def test_a_missing_teacher_is_told_with_the_way_to_make_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"(?s)teacher_ckpt: there is no file .*teacher.json.*--teacher_ckpt"):
        load_teacher(nn.Linear(3, 2), tmp_path / "none.pt")


def test_another_network_is_refused(checkpoint):
    with pytest.raises(WeightsError, match="of another network than Linear"):
        load_teacher(nn.Linear(4, 2), checkpoint)


@pytest.mark.parametrize(
    ("value", "expected"), [(True, True), ("true", True), ("False", False), (0, False), ("no", False)]
)
def test_switches_come_as_words_and_as_booleans(value, expected):
    assert switched_on(value) is expected


def test_a_word_that_is_no_switch_is_refused():
    with pytest.raises(ValueError, match="'maybe' is no switch"):
        switched_on("maybe")


def test_the_first_cause_is_told_last(monkeypatch, capsys):
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    explain_failures()
    explain_failures()  # once is enough
    try:
        try:
            raise FileNotFoundError("there is no teacher")
        except FileNotFoundError as error:
            raise RuntimeError("Failed to instantiate") from error
    except RuntimeError as error:
        sys.excepthook(type(error), error, error.__traceback__)
        cause = first_cause(error)
    assert isinstance(cause, FileNotFoundError)
    told = capsys.readouterr().err
    assert told.endswith("\nThe reason: FileNotFoundError: there is no teacher\n")
    assert told.count("The reason") == 1


def test_an_error_that_was_raised_from_another_one_is_told_itself():
    try:
        try:
            raise KeyError("optimizer")
        except KeyError as error:
            raise ValueError("checkpoint.pt was written by another configuration") from error
    except ValueError as error:
        told = error
    wrapped = RuntimeError("Failed to evaluate ConfigExpression")
    wrapped.__cause__ = told
    assert first_cause(wrapped) is told
    assert first_cause(told) is told
