"""``kdmri predict``: pictures in, predictions and overlays out; nothing but the pixels is known."""

import csv
import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.networks.nets import resnet10
from PIL import Image
from typer.testing import CliRunner

from kdmri_monai.cli import app
from kdmri_monai.data.options import PrepareOptions
from kdmri_monai.data.phantom.patients import write_phantoms
from kdmri_monai.data.prepare import prepare_dataset
from kdmri_monai.data.splits import SplitOptions
from kdmri_monai.networks import GeometryClassifier

CONFIGS = Path(__file__).resolve().parents[1] / "bundles" / "kd" / "configs"
SIDE, WIDEN = 32, 0.125
CLASSES = ("meningioma", "glioma", "pituitary_tumour")


def normalised(pixels):
    """As ``kdmri prepare`` does: percentiles 0.5 and 99.5 become 0 and 255, whole numbers; then 0 and 1."""
    low, high = np.percentile(pixels, [0.5, 99.5])
    return np.rint(np.clip((pixels - low) / (high - low) * 255, 0, 255)) / 255


def probabilities(network, pixels):
    with torch.no_grad():
        return network.eval()(torch.from_numpy(pixels).float()[None, None]).softmax(dim=1)[0].numpy()


def student(head):
    torch.manual_seed(3)
    backbone = resnet10(spatial_dims=2, n_input_channels=1, num_classes=3, conv1_t_stride=2, widen_factor=WIDEN)
    taps = ["layer1", "layer2", "layer3", "layer4"]
    return GeometryClassifier(backbone, taps, 3, (1, SIDE, SIDE)) if head else backbone


def write_run(folder, network, overlays, side=SIDE, dataset="gone"):
    """A run folder as training by ``monai.bundle`` leaves it, with overrides that are in its command line alone."""
    folder.mkdir()
    files = [str(CONFIGS / f"{name}.json") for name in ("train", *overlays)]
    command = ["monai.bundle", "run", "training", "--config_file", repr(files), "--dataset_dir", str(dataset)]
    command += [f"--student_def#widen_factor={WIDEN}", "--image_size", str(side)]
    record = {"command": command, "settings": {"image_size": side}}
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "config.json").write_text(json.dumps(ConfigParser.load_config_files(files)))
    torch.save(network.state_dict(), folder / "model.pt")
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    home = tmp_path_factory.mktemp("runs")
    return {
        "head": write_run(home / "head", student(True), ["geometry_head"]),
        "plain": write_run(home / "plain", student(False), ["baseline"]),
    }


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    home = tmp_path_factory.mktemp("data")
    write_phantoms(home / "source", patients=12, size=64, progress=False)
    prepare_dataset(
        home / "source", home / "D", PrepareOptions(store_size=SIDE, workers=1), SplitOptions(), progress=False
    )
    return home / "D"


@pytest.fixture
def scan(tmp_path):
    """A picture with noise and a blob in the upper right."""
    pixels = np.random.default_rng(1).integers(20, 90, (SIDE, SIDE)).astype(np.uint8)
    pixels[6:12, 18:28] = 240
    Image.fromarray(pixels).save(tmp_path / "scan.png")
    return pixels


def predict(*arguments):
    return CliRunner().invoke(app, ["predict", *map(str, arguments), "--device", "cpu"])


def rows_of(folder):
    with (folder / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def found(row):
    return [float(row[f"p_{name}"]) for name in CLASSES]


@pytest.mark.parametrize("kind", ["head", "plain"])
def test_a_picture_gets_what_the_network_says_of_its_normalised_pixels(runs, kind, scan, tmp_path):
    result = predict(runs[kind], tmp_path / "scan.png", "--size", SIDE, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    expected = probabilities(student(kind == "head"), normalised(scan))
    [row] = rows_of(tmp_path / "out")
    np.testing.assert_allclose(found(row), expected, atol=1e-6)
    assert row["class"] == CLASSES[expected.argmax()].replace("_", " ")
    assert row["file"] == str(tmp_path / "scan.png")
    assert ("tumour_percent" in row) == (kind == "head")
    assert "overlay" not in row
    assert "one of three tumours" in result.output
    assert "no class for a healthy scan" in result.output


def test_a_mat_file_needs_no_label_and_is_turned_upright(runs, scan, tmp_path):
    with h5py.File(tmp_path / "1.mat", "w", userblock_size=512) as file:
        file["cjdata/image"] = scan.astype(np.int16).T * 7
    files = [tmp_path / "scan.png", tmp_path / "1.mat"]
    assert predict(runs["head"], *files, "--size", SIDE, "--out", tmp_path / "out").exit_code == 0
    picture, mat = rows_of(tmp_path / "out")
    np.testing.assert_allclose(found(mat), found(picture), atol=1e-6)


def test_a_dataset_folder_gives_its_test_split_and_a_row_its_pixels(runs, dataset, tmp_path):
    result = predict(runs["head"], dataset, f"{dataset}/images.npy#2", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    test = json.loads((dataset / "datalist.json").read_text())["test"]
    rows = rows_of(tmp_path / "out")
    assert [row["file"] for row in rows[:-1]] == [f"{dataset}/{entry['image']}" for entry in test]
    images, network = np.load(dataset / "images.npy"), student(True)
    for row in rows:
        pixels = images[int(row["file"].split("#")[1])] / 255
        np.testing.assert_allclose(found(row), probabilities(network, pixels), atol=1e-5)


def test_an_overlay_is_drawn_of_every_picture_with_the_area_of_the_map(runs, scan, tmp_path):
    files = [tmp_path / "scan.png"] * 2
    result = predict(runs["head"], *files, "--overlay", "--size", SIDE, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    rows = rows_of(tmp_path / "out")
    assert [row["overlay"] for row in rows] == ["0001_scan.png", "0002_scan.png"]
    assert all((tmp_path / "out" / row["overlay"]).is_file() for row in rows)
    image = torch.from_numpy(normalised(scan)).float()[None, None]
    with torch.no_grad():
        mask = student(True).eval().predict_geometry(image).mask
    upscaled = torch.nn.functional.interpolate(mask, (SIDE, SIDE), mode="bilinear", align_corners=False)
    assert float(rows[0]["tumour_percent"]) == pytest.approx(100 * float((upscaled >= 0.5).float().mean()), abs=0.11)
    assert "% of the image" in result.output


def test_predictions_go_beside_the_run_unless_told_otherwise(runs, scan, tmp_path):
    assert predict(runs["plain"], tmp_path / "scan.png").exit_code == 0
    assert len(rows_of(runs["plain"] / "predictions")) == 1


@pytest.mark.parametrize(
    ("kind", "arguments", "told"),
    [
        ("plain", ["scan.png", "--slices", "3"], "expected is a:b"),
        ("plain", ["scan.png", "--plane", "oblique"], "allowed are axial, coronal, sagittal"),
        ("plain", ["scan.txt"], "is no picture"),
        ("plain", ["missing.png"], "missing.png: file cannot be read"),
        ("plain", ["images.npy#0"], "images.npy"),
        ("nothing", ["scan.png"], "there is no run folder"),
        ("empty", ["scan.png"], "has no run.json"),
    ],
)
def test_wrong_input_ends_in_one_line(runs, scan, tmp_path, kind, arguments, told):
    (tmp_path / "empty").mkdir()
    run = runs.get(kind, tmp_path / kind)
    files = [tmp_path / word if "." in word else word for word in arguments]
    result = predict(run, *files, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert result.output.startswith("error: ")
    assert result.output.count("\n") == 1
    assert told in result.output
    assert not (tmp_path / "out").exists()


def test_a_teacher_that_wants_the_mask_is_refused(scan, tmp_path):
    overlays = ["geometry_teacher", "teacher"]
    parser = ConfigParser(ConfigParser.load_config_files([str(CONFIGS / f"{n}.json") for n in ("train", *overlays)]))
    parser["image_size"] = 64
    run = write_run(tmp_path / "teacher", parser.get_parsed_content("network_def"), overlays, 64)
    result = predict(run, tmp_path / "scan.png", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "wants mask, has_mask beside the image" in result.output


@pytest.fixture(scope="module")
def judging(tmp_path_factory, dataset):
    """A run whose dataset is still there, so that pictures are compared with its training slices."""
    network = student(False)
    with torch.no_grad():
        network.fc.weight *= 40  # so that it is sure
    return write_run(tmp_path_factory.mktemp("judging") / "run", network, ["baseline"], dataset=dataset)


@pytest.fixture(scope="module")
def answered(judging, dataset, tmp_path_factory):
    """What is said of noise and of two slices, with overlays: result, folder."""
    home = tmp_path_factory.mktemp("answered")
    noise = np.random.default_rng(5).integers(0, 256, (48, 48)).astype(np.uint8)
    Image.fromarray(noise).save(home / "noise.png")
    rows = [f"{dataset}/images.npy#{row}" for row in (0, 5)]
    result = predict(judging, home / "noise.png", *rows, "--overlay", "--out", home / "out")
    return result, home / "out"


def test_noise_is_not_called_a_tumour_and_the_reasons_have_numbers(answered):
    result, folder = answered
    assert result.exit_code == 0, result.output
    noise = rows_of(folder)[0]
    assert (noise["class"], noise["abstains"]) == ("abstains", "yes")
    assert noise["most_probable"] in [name.replace("_", " ") for name in CLASSES]
    assert re.search(r"not a head: mean brightness of the corners 0\.\d+; 99 % of training slices", noise["reasons"])
    assert "noise.png: abstains; most probable:" in result.output
    assert "    far from training data: feature distance" in result.output
    assert "without a decision" in result.output


def test_the_json_holds_all_that_the_table_holds_and_what_it_was_compared_with(answered, judging):
    _, folder = answered
    content = json.loads((folder / "predictions.json").read_text())
    table = rows_of(folder)
    assert content["format"] == "kdmri-predict-1"
    assert len(content["predictions"]) == len(table) == sum(content["counts"].values())
    for row, one in zip(table, content["predictions"], strict=True):
        assert row["class"] == (one["class"] or "abstains")
        assert found(row) == list(one["probabilities"].values())
        assert one["abstains"] == (row["abstains"] == "yes") == any(reason["hard"] for reason in one["reasons"])
        assert float(row["feature_distance"]) == pytest.approx(one["feature_distance"], rel=1e-5)
        assert row["overlay"] == one["overlay"]
        far = one["feature_distance"] > content["settings"]["limits"]["feature_distance"]["far"]
        assert far == any(reason["kind"] == "far from training data" for reason in one["reasons"])
    assert content["settings"]["trust_profile"] == str(judging / "trust.safetensors")
    assert content["skipped"] == []


def test_a_student_without_a_geometry_head_is_drawn_with_where_it_looks(answered):
    _, folder = answered
    drawn = [folder / row["overlay"] for row in rows_of(folder)]
    assert drawn[0].name == "0001_noise.png"
    for path in drawn:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB")).astype(int)
        assert (np.abs(pixels[..., 0] - pixels[..., 2]) > 60).sum() > 500  # coloured heat beside a grey slice


def test_a_bad_file_is_told_and_the_others_are_answered(runs, scan, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    files = [tmp_path / "missing.png", tmp_path / "bad.png", tmp_path / "scan.png"]
    result = predict(runs["plain"], *files, "--out", tmp_path / "out")
    assert result.exit_code == 1
    [row] = rows_of(tmp_path / "out")
    assert row["file"] == str(tmp_path / "scan.png")
    skipped = json.loads((tmp_path / "out" / "predictions.json").read_text())["skipped"]
    assert [Path(one["name"]).name for one in skipped] == ["missing.png", "bad.png"]
    assert "missing.png: file cannot be read" in result.output


def test_without_the_training_data_nothing_is_compared_and_that_is_said(runs, scan, tmp_path):
    result = predict(runs["plain"], tmp_path / "scan.png", "--out", tmp_path / "out")
    assert "were not compared with the training data" in result.output
    [row] = rows_of(tmp_path / "out")
    assert (row["abstains"], row["reasons"], row["feature_distance"]) == ("", "", "")


def test_slices_of_a_volume_are_named_by_their_numbers(runs, tmp_path):
    import nibabel

    voxels = np.random.default_rng(4).integers(0, 900, (20, 24, 9)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.0, 1, 1, 1])), tmp_path / "head.nii.gz")
    arguments = ["--plane", "axial", "--slices", "3:5", "--out", tmp_path / "out"]
    assert predict(runs["plain"], tmp_path / "head.nii.gz", *arguments).exit_code == 0
    rows = rows_of(tmp_path / "out")
    assert [(row["slice"], row["plane"]) for row in rows] == [("3", "axial"), ("4", "axial"), ("5", "axial")]
    assert {row["file"] for row in rows} == {str(tmp_path / "head.nii.gz")}


def test_pictures_are_read_a_batch_at_a_time(runs, tmp_path):
    from kdmri_monai.evaluation.prediction_pictures import Picture
    from kdmri_monai.sharing.judged_pictures import judge_pictures
    from kdmri_monai.sharing.open_student import open_student

    read = []

    def pictures():
        for number in range(100):
            read.append(number)
            yield Picture(str(number), np.full((SIDE, SIDE), number, np.uint8))

    judged = judge_pictures(open_student(runs["plain"], torch.device("cpu")), pictures(), batch_size=8)
    assert next(judged).prediction.picture.name == "0"
    assert len(read) == 8
