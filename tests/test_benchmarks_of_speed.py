"""The benchmarks of a training step and of one image, on small things."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.networks.nets import resnet10

from kdmri_monai.data.options import PrepareOptions
from kdmri_monai.data.phantom.patients import write_phantoms
from kdmri_monai.data.prepare import prepare_dataset
from kdmri_monai.data.splits import SplitOptions
from kdmri_monai.sharing.exports import ONNX, export_forms

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def opened(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def opened(name):
        spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return opened


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_step_is_timed_three_ways(opened, tmp_path, monkeypatch, capsys):
    write_phantoms(tmp_path / "source", patients=12, size=64, progress=False)
    prepare_dataset(
        tmp_path / "source", tmp_path / "D", PrepareOptions(store_size=64, workers=1), SplitOptions(), progress=False
    )
    words = ["--image_size", 64, "--batch_size", 8, "--rounds", 1, "--workers", 0, "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["train_step", "--dataset_dir", str(tmp_path / "D"), *map(str, words)])
    opened("train_step").main()
    told = json.loads(capsys.readouterr().out)
    speed = told["images per second"]
    assert set(speed) == {"trainer", "by hand", "MONAI's usual way"}
    for name, ratio in told["times as fast as"].items():
        assert ratio == pytest.approx(speed["trainer"] / speed[name], rel=0.02)
    assert told["operations of a step"] > 8 * 10e6
    assert 0 < told["share of the matrix product's speed, %"] < 100


def test_forms_take_turns_and_every_call_is_counted(opened):
    asked = []
    forms = {name: lambda image, name=name: asked.append(name) for name in "abc"}
    taken = opened("latency").timed(forms, np.zeros((1, 1, 4, 4), np.float32), rounds=3, calls=2)
    assert {name: len(values) for name, values in taken.items()} == {"a": 6, "b": 6, "c": 6}
    assert "".join(asked[15:]) == "aabbccbbccaaccaabb"


def test_eight_bits_are_smaller_and_nearly_say_the_same(opened, tmp_path):
    latency = opened("latency")
    torch.manual_seed(0)
    network = resnet10(spatial_dims=2, n_input_channels=1, num_classes=3, conv1_t_stride=2, widen_factor=0.25).eval()
    images = np.random.default_rng(0).random((16, 1, 32, 32)).astype(np.float32)
    (tmp_path / "model.onnx").write_bytes(export_forms(network, (1, 32, 32), [ONNX])[ONNX])
    small = latency.quantised(tmp_path / "model.onnx", tmp_path, images)
    assert small.stat().st_size < 0.5 * (tmp_path / "model.onnx").stat().st_size
    whole = np.concatenate([latency.session(tmp_path / "model.onnx")(image[None]) for image in images])
    eight = np.concatenate([latency.session(small)(image[None]) for image in images])
    assert 0 < np.abs(whole - eight).max() < 0.3 * np.abs(whole).max()
