"""A packed bundle from a stranger: opened as it says, after the audit, and nothing else of it is run."""

import json
import shutil
import zipfile

import numpy as np
import pytest
import torch
from monai.networks.nets import resnet10
from monai.transforms import Compose, LoadImaged
from PIL import Image
from typer.testing import CliRunner

from kdmri_monai.cli import app
from kdmri_monai.sharing.manifest import build_manifest
from kdmri_monai.sharing.packed_student import UntrustedBundleError, is_packed, open_packed

SIDE, CLASSES, TEMPERATURE = 32, ["meningioma", "glioma", "pituitary tumour"], 1.7


def student():
    torch.manual_seed(5)
    return resnet10(spatial_dims=2, n_input_channels=1, num_classes=3, conv1_t_stride=2, widen_factor=0.125).eval()


def config():
    """A small one of the form that ``kdmri pack`` writes."""
    steps = [
        {"_target_": "LoadImaged", "keys": "image", "image_only": True},
        {"_target_": "EnsureChannelFirstd", "keys": "image", "channel_dim": "no_channel"},
        {
            "_target_": "ScaleIntensityRangePercentilesd",
            "keys": "image",
            "lower": 0.5,
            "upper": 99.5,
            "b_min": 0.0,
            "b_max": 1.0,
            "clip": True,
        },
        {"_target_": "Resized", "keys": "image", "spatial_size": ["@image_size", "@image_size"], "mode": "area"},
        {"_target_": "EnsureTyped", "keys": "image", "dtype": "$torch.float32", "track_meta": False},
    ]
    return {
        "imports": ["$import torch"],
        "bundle_root": ".",
        "image_size": SIDE,
        "temperature": TEMPERATURE,
        "classes": CLASSES,
        "network_def": {
            "_target_": "monai.networks.nets.resnet10",
            "spatial_dims": 2,
            "n_input_channels": 1,
            "num_classes": 3,
            "conv1_t_stride": 2,
            "widen_factor": 0.125,
        },
        "preprocessing": {"_target_": "Compose", "transforms": steps},
    }


@pytest.fixture
def write(tmp_path):
    """Writes a bundle as a folder and as a zip archive."""

    def written(content, name="student", weights=None):
        root = tmp_path / name
        (root / "configs").mkdir(parents=True)
        (root / "models").mkdir()
        (root / "configs" / "inference.json").write_text(json.dumps(content))
        (root / "LICENSE").write_text("Apache License\nVersion 2.0\n")
        torch.save(student().state_dict() if weights is None else weights, root / "models" / "model.pt")
        files = {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}
        (root / "manifest.json").write_bytes(build_manifest(name, files))
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            for file in sorted(root.rglob("*")):
                if file.is_file():
                    archive.write(file, f"{name}/{file.relative_to(root)}")
        return tmp_path / f"{name}.zip"

    return written


@pytest.fixture
def scan(tmp_path):
    pixels = np.random.default_rng(1).integers(20, 200, (40, 40)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "scan.png")
    return pixels


def expected(pixels):
    """Percentiles to 0 and 1, area means, the network, the temperature: without MONAI's transforms."""
    low, high = np.percentile(pixels, [0.5, 99.5])
    image = torch.from_numpy(np.clip((pixels - low) / (high - low), 0, 1)).float()[None, None]
    image = torch.nn.functional.interpolate(image, (SIDE, SIDE), mode="area")
    with torch.no_grad():
        return (student()(image) / TEMPERATURE).softmax(dim=1)[0].numpy()


@pytest.mark.parametrize("form", ["zip", "folder"])
def test_a_bundle_gives_its_own_network_preprocessing_temperature_and_classes(write, scan, form):
    archive = write(config())
    packed = open_packed(archive if form == "zip" else archive.with_suffix(""), trusted=True)
    assert (packed.name, packed.classes, packed.temperature) == ("student", tuple(CLASSES), TEMPERATURE)
    assert not packed.network.training
    assert not any(isinstance(step, LoadImaged) for step in packed.preprocessing.transforms)
    image = packed.preprocessing({"image": scan.astype(np.float32)})["image"]
    with torch.no_grad():
        found = (packed.network(image[None]) / packed.temperature).softmax(dim=1)[0].numpy()
    np.testing.assert_allclose(found, expected(scan), atol=1e-5)
    assert packed.trust is None


def test_predict_takes_a_bundle(write, scan, tmp_path):
    arguments = ["predict", write(config()), tmp_path / "scan.png", "--trust", "--out", tmp_path / "out"]
    result = CliRunner().invoke(app, [*map(str, arguments), "--device", "cpu"])
    assert result.exit_code == 0, result.output
    [one] = json.loads((tmp_path / "out" / "predictions.json").read_text())["predictions"]
    np.testing.assert_allclose(list(one["probabilities"].values()), expected(scan), atol=1e-5)
    assert "the bundle has no models/trust.safetensors" in result.output


def test_what_can_run_code_is_refused_with_its_place_and_nothing_runs(write, scan, tmp_path):
    marker = tmp_path / "ran"
    hostile = config() | {"temperature": f"$__import__('pathlib').Path({str(marker)!r}).touch() or 1.0"}
    archive = write(hostile)
    with pytest.raises(UntrustedBundleError, match=r"configs/inference\.json temperature") as told:
        open_packed(archive)
    assert "--trust" in str(told.value)
    assert not marker.exists()
    result = CliRunner().invoke(
        app, ["predict", str(archive), str(tmp_path / "scan.png"), "--out", str(tmp_path / "o")]
    )
    assert result.exit_code == 1
    assert "is refused" in result.output
    assert not marker.exists()
    assert not (tmp_path / "o").exists()
    assert open_packed(archive, trusted=True).temperature == 1.0  # the maker is known
    assert marker.exists()


def test_a_safe_bundle_is_opened_without_being_told_to_trust_it(write):
    assert open_packed(write(config())).temperature == TEMPERATURE


class Shell:
    """Unpickled, it would make a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_weights_that_would_run_code_are_not_loaded_even_of_a_known_maker(write, tmp_path):
    archive = write(config(), weights={"conv1.weight": Shell(tmp_path / "ran")})
    with pytest.raises(ValueError, match="cannot be read as weights"):
        open_packed(archive, trusted=True)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"network_def": {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 3}}, "another network"),
        ({"network_def": 3}, "which is no network"),
        ({"temperature": 0.0}, "a positive number is needed"),
        ({"preprocessing": {"_target_": "Resized", "keys": "image", "spatial_size": 3}}, "a Compose is expected"),
        ({"preprocessing": "@nowhere"}, "preprocessing of"),
        ({"classes": None}, "has no id 'classes'"),
    ],
)
def test_parts_that_do_not_fit_are_told(write, change, told):
    content = {name: value for name, value in (config() | change).items() if value is not None}
    with pytest.raises(ValueError, match=told):
        open_packed(write(content), trusted=True)


def test_what_is_not_there_and_what_is_no_bundle_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no bundle"):
        open_packed(tmp_path / "none.zip", trusted=True)
    (tmp_path / "run").mkdir()
    assert not is_packed(tmp_path / "run")
    with pytest.raises(FileNotFoundError, match=r"has no configs/inference\.json"):
        open_packed(tmp_path / "run", trusted=True)


def test_the_evaluator_and_handlers_of_a_bundle_are_left_alone(write, tmp_path):
    marker = tmp_path / "ran"
    content = config() | {"run": [f"$open({str(marker)!r}, 'w')"], "handlers": [f"$open({str(marker)!r}, 'w')"]}
    open_packed(write(content), trusted=True)
    assert not marker.exists()


def test_a_trust_profile_of_other_classes_is_refused(write, tmp_path):
    from kdmri_monai.sharing.trust_limits import Usual
    from kdmri_monai.sharing.trust_profile import TrustProfile
    from kdmri_monai.sharing.trust_traits import WORDS

    archive = write(config())
    ranges = dict.fromkeys(WORDS, Usual(0, 1, 0, 1))
    profile = TrustProfile(None, None, ranges, None, None, None, 32, ("a", "b", "c"), "", {})
    profile.save(archive.with_suffix("") / "models" / "trust.safetensors")
    with pytest.raises(ValueError, match="is of classes a, b, c"):
        open_packed(archive.with_suffix(""), trusted=True)


def test_only_the_folder_that_was_named_is_left_behind(write, tmp_path, monkeypatch):
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    open_packed(write(config()), trusted=True)
    assert list(place.iterdir()) == []
    shutil.rmtree(place)


def test_steps_of_the_preprocessing_that_need_more_than_the_image_are_left_out(write):
    content = config()
    content["preprocessing"]["transforms"].append({"_target_": "ToTensord", "keys": "label"})
    steps = open_packed(write(content), trusted=True).preprocessing
    assert isinstance(steps, Compose)
    assert len(steps.transforms) == 4
