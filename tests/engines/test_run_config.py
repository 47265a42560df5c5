"""Overrides of a run's command line, and batches for networks that are named on the command line."""

import json

import fire
import numpy as np
import pytest
from monai.bundle import ConfigParser
from monai.transforms import Compose

from kdmri_monai.engines.configured import configured_network, image_steps
from kdmri_monai.engines.run_config import run_config, run_overrides


def fire_reads(words):
    """What Fire, by which monai.bundle is started, gives a function for the same words."""
    read = {}

    def run(run_id=None, **override):
        read.update(override)

    fire.Fire(run, command=words)
    return read


@pytest.mark.parametrize(
    "words",
    [
        ["training", "--image_size", "96", "--learning_rate=1e-3", "--progress", "false"],
        ["training", "--teacher_def#backbone#embed_dim", "24", "--from_mask", "['distance','rings']"],
        ["training", "--from_mask", "[distance,rings]", "--resume", "true", "--overwrite"],
        ["training", "--offset", "-1", "--output_dir", "runs/a b", "--erasing", "None", "--dash-ed", "x"],
        ["training", "--resume", "--terms#0", '{"name": "kd", "weight": 1.0}'],
    ],
)
def test_values_are_read_as_fire_reads_them(words):
    assert run_overrides(["monai.bundle", "run", *words]) == fire_reads(words)


def test_options_of_the_runner_are_no_overrides():
    words = [
        "run",
        "training",
        "--config_file",
        "['a.json']",
        "--logging_file",
        "l.conf",
        "--meta_file",
        "m",
        "--a",
        "1",
    ]
    assert run_overrides(words) == {"a": 1}
    with pytest.raises(ValueError, match="args_file"):
        run_overrides(["run", "training", "--args_file", "a.json"])


def write_run(folder, record, config):
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_run_is_read_with_its_overrides_and_the_size_of_its_settings(tmp_path):
    record = {"command": ["run", "training", "--net#width", "8"], "settings": {"image_size": 48}}
    config = run_config(write_run(tmp_path, record, {"image_size": 96, "net": {"width": 4, "depth": 2}}))
    assert config.get_parsed_content("net") == {"width": 8, "depth": 2}
    assert config.get_parsed_content("image_size") == 48


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no run\.json"):
        run_config(tmp_path)
    write_run(tmp_path, {"settings": {}}, {})
    with pytest.raises(ValueError, match="no command or no settings"):
        run_config(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ValueError, match=r"run\.json is not a JSON file"):
        run_config(tmp_path)


def test_shipped_steps_bring_stored_pixels_to_a_map_of_0_to_1():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8)).astype(np.float32)
    image = image_steps(ConfigParser({}), 4)({"image": pixels})["image"].numpy()
    expected = pixels.reshape(4, 2, 4, 2).mean(axis=(1, 3)) / 255
    np.testing.assert_allclose(image[0], expected, rtol=1e-5)


def test_a_configurations_own_steps_are_taken_but_not_those_for_loading_and_labels():
    def step(target, **arguments):
        return {"_target_": target, **arguments}

    transforms = [
        step("LoadImaged", keys="image", reader="kdmri_monai.data.readers.StoreReader"),
        step("EnsureChannelFirstd", keys="image", channel_dim="no_channel"),
        step("ScaleIntensityRanged", keys="image", a_min=0.0, a_max=100.0, b_min=-1.0, b_max=1.0),
        step("kdmri_monai.data.transforms.LoadMaskd", keys="mask", spatial_size=[4, 4]),
        step("SelectItemsd", keys=["image", "label"]),
    ]
    config = ConfigParser({"preprocessing": step("Compose", transforms=transforms)})
    steps = image_steps(config, 4)
    assert isinstance(steps, Compose)
    assert steps({"image": np.full((4, 4), 75.0, np.float32)})["image"].numpy() == pytest.approx(0.5)


def test_a_class_gets_its_arguments_and_the_default_size():
    found = configured_network("torch.nn.Conv2d", {"in_channels": 1, "out_channels": 5, "kernel_size": 3})
    assert found.network.out_channels == 5
    assert found.image_shape == (1, 96, 96)
    assert "preprocessing" not in found.config
    assert found.weights is None
