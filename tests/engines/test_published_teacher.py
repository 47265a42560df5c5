"""Teachers that others have trained: taken in by rules, on request only, and never without a word in the record."""

import hashlib
import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from kdmri_monai.data.errors import LeakageError
from kdmri_monai.engines import load_teacher
from kdmri_monai.engines.teacher import teacher_facts
from kdmri_monai.networks import WeightsError


def entry(index, patient, label):
    return {
        "image": f"images.npy#{index}",
        "label": label,
        "id": str(index),
        "patient": patient,
        "family": patient,
        "source": f"{index}.mat",
        "patient_source": "cjdata/PID",
        "size": [64, 64],
        "fold": 0,
        "sha256": f"{index:064x}",
    }


@pytest.fixture
def datalist(tmp_path):
    splits = {"training": [entry(0, "100", 0)], "validation": [entry(1, "200", 1)], "test": [entry(2, "300", 2)]}
    content = {
        "format": "kdmri-datalist-1",
        "name": "small",
        "description": "three slices",
        "numClasses": 3,
        "classes": ["meningioma", "glioma", "pituitary tumour"],
        "group_rule": "family",
        "folds": 5,
        "fold": 0,
        "seed": 0,
        **splits,
        **{f"num{name.capitalize()}": 1 for name in splits},
    }
    path = tmp_path / "datalist.json"
    path.write_text(json.dumps(content))
    return path


def network(channels=1, classes=3):
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))


@pytest.fixture
def published(tmp_path):
    """A colour network for five classes, as somebody else names its tensors."""
    path = tmp_path / "web" / "encoder.pt"
    path.parent.mkdir()
    state = network(channels=3, classes=5).state_dict()
    torch.save({"epoch": 90, "state_dict": {f"module.encoder.{name}": value for name, value in state.items()}}, path)
    return path


RULES = {"key_map": {"^encoder\\.": ""}, "leave_out": ["^3\\."], "grey_stem": "true"}


def test_weights_without_a_record_are_refused_until_that_is_accepted(published, datalist, caplog):
    with pytest.raises(LeakageError, match=r"no run.json beside it.*--teacher_data_unknown true"):
        load_teacher(network(), published, datalist, **RULES)
    teacher = load_teacher(network(), published, datalist, **RULES, data_unknown="true")
    assert "whether it has seen our validation and test patients is not known" in caplog.text
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_the_record_tells_file_shares_and_that_the_data_are_unknown(published, datalist):
    teacher = load_teacher(network(), published, datalist, **RULES, data_unknown=True)
    (facts,) = json.loads(json.dumps(teacher_facts(nn.ModuleDict({"member": teacher}))))
    assert facts["sha256"] == hashlib.sha256(published.read_bytes()).hexdigest()
    assert facts["training_data"] == "unknown"
    assert (facts["imported"]["tensors"], facts["imported"]["parameters"]) == (1.0, 1.0)
    assert facts["imported"]["left_out"] == ["3.weight", "3.bias"]
    assert facts["imported"]["summed"] == "0.weight"


def test_the_weights_are_those_of_the_file(published, datalist):
    teacher = load_teacher(network(), published, datalist, **RULES, data_unknown=True)
    state = torch.load(published, weights_only=True)["state_dict"]
    torch.testing.assert_close(teacher[0].weight, state["module.encoder.0.weight"].sum(1, keepdim=True))
    assert torch.equal(teacher[0].bias, state["module.encoder.0.bias"])


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"key_map": None}, "no tensor of the file has a name of the network"),
        ({"grey_stem": False}, r"0.weight \(4, 3, 3, 3\) instead of \(4, 1, 3, 3\)"),
        ({"leave_out": []}, r"3.weight \(5, 4\) instead of \(3, 4\)"),
    ],
)
def test_what_was_not_asked_for_is_not_done(published, datalist, changed, told):
    with pytest.raises(WeightsError, match=told):
        load_teacher(network(), published, datalist, **RULES | changed, data_unknown=True)


def test_a_share_below_the_stated_one_is_refused(tmp_path, datalist):
    path = tmp_path / "part.safetensors"
    save_file({name: value for name, value in network().state_dict().items() if name.startswith("0.")}, path)
    with pytest.raises(WeightsError, match=r"50.0% of the tensors and 72.7% of the parameters; missing 3.weight"):
        load_teacher(network(), path, datalist, min_match=0.6, data_unknown=True)
    teacher = load_teacher(network(), path, datalist, min_match=0.5, data_unknown=True)
    assert teacher_facts(teacher)[0]["imported"]["missing"] == ["3.weight", "3.bias"]


def test_a_teacher_of_a_run_of_ours_leaves_no_note(tmp_path, datalist):
    path = tmp_path / "run" / "model.pt"
    path.parent.mkdir()
    torch.save(network().state_dict(), path)
    record = {"data": {"training_families": ["100"]}, "settings": {"image_size": 64}}
    path.with_name("run.json").write_text(json.dumps(record))
    assert teacher_facts(load_teacher(network(), path, datalist, 64)) is None
    assert teacher_facts(None) is None


def test_the_leak_check_holds_for_renamed_weights_too(tmp_path, datalist):
    path = tmp_path / "run" / "model.pt"
    path.parent.mkdir()
    torch.save({f"encoder.{name}": value for name, value in network().state_dict().items()}, path)
    record = {"data": {"training_families": ["300"]}, "settings": {}}
    path.with_name("run.json").write_text(json.dumps(record))
    with pytest.raises(LeakageError, match="300"):
        load_teacher(network(), path, datalist, key_map={"^encoder\\.": ""}, data_unknown=True)


def test_without_data_there_is_nothing_to_accept(published):
    teacher = load_teacher(network(), published, **RULES)
    assert teacher_facts(teacher)[0]["training_data"] == "unknown"
