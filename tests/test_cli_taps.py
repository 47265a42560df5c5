"""``kdmri taps``: places of a network that can be tapped, and pairs of taps of two networks."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.networks.nets import resnet10
from typer.testing import CliRunner

from kdmri_monai.cli import app
from kdmri_monai.data.options import PrepareOptions
from kdmri_monai.data.phantom.patients import write_phantoms
from kdmri_monai.data.prepare import prepare_dataset
from kdmri_monai.data.splits import SplitOptions
from kdmri_monai.engines.configured import image_steps, slice_batches

CONFIGS = Path(__file__).resolve().parents[1] / "bundles" / "kd" / "configs"
STUDENT = f"{CONFIGS}/train.json#student_def"
SMALL = {"spatial_dims": 2, "n_input_channels": 1, "num_classes": 3, "widen_factor": 0.125}


def taps(*arguments):
    return CliRunner().invoke(app, ["taps", *map(str, arguments)], env={"COLUMNS": "160"})


def table(output):
    """Rows of a printed table by their first cell."""
    rows = (re.split(r"\s{2,}", line.strip()) for line in output.splitlines() if line.strip())
    return {row[0]: row[1:] for row in rows if len(row) > 1}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    home = tmp_path_factory.mktemp("data")
    write_phantoms(home / "source", patients=12, size=64, progress=False)
    prepare_dataset(
        home / "source", home / "D", PrepareOptions(store_size=64, workers=1), SplitOptions(), progress=False
    )
    return home / "D"


def test_the_table_has_the_shapes_and_strides_of_the_bundles_student():
    result = taps(STUDENT, "--depth", 1, "--image-size", 64)
    assert result.exit_code == 0, result.output
    rows = table(result.output)
    channels = [24, 48, 96, 192]
    for number, (width, stride) in enumerate(zip(channels, (4, 8, 16, 32), strict=True), start=1):
        assert rows[f"layer{number}"][1:4] == [f"{width} x {64 // stride} x {64 // stride}", "maps", str(stride)]
    assert "layer1.0" not in rows


def test_the_size_of_the_configuration_is_taken_without_another_one():
    assert table(taps(STUDENT, "--depth", 1).output)["layer1"][1] == "24 x 24 x 24"  # 96 pixels


def test_overlays_joined_by_a_comma_are_found_beside_the_first_file():
    result = taps(f"{CONFIGS}/train.json,geometry_head.json#network_def", "--image-size", 32, "--depth", 2)
    assert result.exit_code == 0, result.output
    assert table(result.output)["head.maps"][1] == "7 x 8 x 8"


def test_ids_of_a_configuration_are_overridden():
    result = taps(STUDENT, "--arguments", json.dumps({"student_def#widen_factor": 0.125}), "--depth", 1)
    assert table(result.output)["layer1"][1] == "8 x 24 x 24"


@pytest.mark.parametrize("name", ["resnet10", "monai.networks.nets.resnet10"])
def test_a_class_is_named_dotted_or_short_and_takes_volumes(name):
    arguments = json.dumps(SMALL | {"spatial_dims": 3})
    result = taps(name, "--arguments", arguments, "--image-shape", "1,16,32,32", "--depth", 1)
    assert result.exit_code == 0, result.output
    assert table(result.output)["layer4"][1] == "64 x 1 x 2 x 2"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    torch.save(resnet10(**SMALL).state_dict(), path)
    return path


def test_a_network_paired_with_itself_has_a_diagonal_of_ones(dataset, weights):
    same = json.dumps(SMALL)
    names = "layer1,layer2,layer3,layer4"
    result = taps(
        *("resnet10", "--arguments", same, "--teacher", "resnet10", "--teacher-arguments", same),
        *("--student-ckpt", weights, "--teacher-ckpt", weights, "--student-taps", names, "--teacher-taps", names),
        *("--pairing", "cka", "--data", dataset, "--image-size", 32, "--slices", 12, "--split", "training"),
        *("--device", "cpu"),
    )
    assert result.exit_code == 0, result.output
    rows = table(result.output)
    for number in range(1, 5):
        assert rows[f"layer{number}"][number - 1] == "1.00*"
        assert f"* layer{number}, layer{number}" in result.output
    assert f"student: ResNet, {weights}; was given image\n" in result.output
    assert "12 slices of training" in result.output


def test_a_teacher_that_wants_masks_is_given_them_and_the_configs_name_the_taps(dataset):
    smaller = {"teacher_def#backbone#embed_dim": 12, "teacher_def#width": 8}
    result = taps(
        *(STUDENT, "--teacher", f"{CONFIGS}/train.json,geometry_teacher.json#teacher_def"),
        *("--teacher-arguments", json.dumps(smaller), "--pairing", "cka", "--data", dataset, "--slices", 8),
        *("--image-size", 64, "--split", "training", "--device", "cpu"),
    )
    assert result.exit_code == 0, result.output
    assert "teacher: GeometryTeacher, random weights, which say little; was given image, mask, has_mask" in (
        result.output
    )
    assert {"layer1", "layer2", "layer3", "layer4"} <= table(result.output).keys()
    assert "4 fusion[3]" in result.output


def test_slices_are_spread_over_the_split_and_come_with_their_masks(dataset):
    steps = image_steps(ConfigParser({}), 64)
    entries = json.loads((dataset / "datalist.json").read_text())["training"]
    spread = [entries[round(place * (len(entries) - 1) / 5)] for place in range(6)]
    [batch] = slice_batches(dataset / "datalist.json", "training", steps, 64, 6)
    assert batch["id"] == [entry["id"] for entry in spread]
    images, masks = np.load(dataset / "images.npy"), np.load(dataset / "masks.npy")
    for place, entry in enumerate(spread):
        np.testing.assert_allclose(batch["image"][place, 0], images[int(entry["image"].split("#")[1])] / 255, atol=1e-6)
        assert np.array_equal(batch["mask"][place, 0], masks[int(entry["mask"].split("#")[1])] > 0)
    assert batch["mask"].dtype == torch.float32
    assert batch["has_mask"].all()
    every = slice_batches(dataset / "datalist.json", "training", steps, 64, 10**6)
    assert sum(len(batch["id"]) for batch in every) == len(entries)


PAIRED = ["resnet10", "--teacher", "resnet10", "--pairing", "cka", "--data", "D"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nonsense"], "a network is a run folder, FILE.json#id, or a class"),
        ([f"{CONFIGS}/train.json#studnt_def"], "no id 'studnt_def'; ids of networks are like student_def"),
        ([f"{CONFIGS}/train.json#terms"], "gives list, which is no network"),
        (["missing.json#student_def"], "there is no file missing.json"),
        (["resnet10", "--arguments", '{"nonsense": 1}'], "unexpected keyword argument 'nonsense'"),
        (["resnet10", "--arguments", "[1]"], "a JSON object is expected"),
        (["resnet10", "--arguments", "{"], "--arguments is no JSON"),
        (["resnet10", "--image-shape", "64,64"], "like 1,64,64,64"),
        ([STUDENT, "--image-shape", "3,64,64"], "cannot take images of shape (3, 64, 64)"),
        (["resnet10", "--teacher", "resnet10"], "missing: --pairing cka, --data"),
        (["resnet10", "--pairing", "svcca"], "allowed is cka"),
        ([*PAIRED, "--image-shape", "1,64,64"], "instead of --image-shape"),
        ([*PAIRED, "--student-taps", "layer1"], "say where the teacher is read: --teacher-taps"),
        ([*PAIRED, "--student-taps", "layr1", "--teacher-taps", "layer1"], "has no module 'layr1'; near names"),
        ([*PAIRED, "--student-taps", "layer1", "--teacher-taps", "layer1", "--slices", "0"], "at least 1 is needed"),
    ],
)
def test_wrong_input_ends_in_one_line(dataset, arguments, told):
    words = [str(dataset) if word == "D" else word for word in arguments]
    if words[0] == "resnet10" and "--arguments" not in words:
        words += ["--arguments", json.dumps(SMALL), "--teacher-arguments", json.dumps(SMALL), "--device", "cpu"]
    result = taps(*words)
    assert result.exit_code == 1, result.output
    assert result.output.startswith("error: ")
    assert result.output.count("\n") == 1
    assert told in result.output
