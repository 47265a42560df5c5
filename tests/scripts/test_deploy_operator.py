"""The operator for MONAI Deploy labels by the most probable class; its core runs without the SDK."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.networks.nets import resnet10

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ["meningioma", "glioma", "pituitary tumour"]
NETWORK = {"spatial_dims": 2, "n_input_channels": 1, "num_classes": 3, "conv1_t_stride": 2, "widen_factor": 0.125}
TEMPERATURE = 1.7


@pytest.fixture(scope="module")
def deploy():
    spec = importlib.util.spec_from_file_location("deploy_operator", ROOT / "scripts" / "deploy_operator.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["deploy_operator"] = module  # a dataclass looks for its module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def bundle(tmp_path):
    """An unpacked bundle in pure configuration, as another lab gets it."""
    for folder in ("configs", "models"):
        (tmp_path / folder).mkdir()
    torch.manual_seed(0)
    torch.save(resnet10(**NETWORK).state_dict(), tmp_path / "models" / "model.pt")
    keys = {"keys": "image"}
    percentiles = {"lower": 0.5, "upper": 99.5, "b_min": 0.0, "b_max": 1.0, "clip": True}
    config = {
        "imports": ["$import torch"],
        "classes": CLASSES,
        "device": "cpu",
        "temperature": TEMPERATURE,
        "network_def": {"_target_": "resnet10", **NETWORK},
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", **keys, "image_only": True},
                {"_target_": "EnsureChannelFirstd", **keys, "channel_dim": "no_channel"},
                {"_target_": "ScaleIntensityRangePercentilesd", **keys, **percentiles},
                {"_target_": "Resized", **keys, "spatial_size": [48, 48], "mode": "area"},
            ],
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Lambdad", "keys": "pred", "func": "$lambda logits: logits / @temperature"},
                {"_target_": "Activationsd", "keys": "pred", "softmax": True, "dim": -1},
            ],
        },
    }
    (tmp_path / "configs" / "inference.json").write_text(json.dumps(config))
    return tmp_path


def series(slices=5):
    """Slices of a scanner's numbers, not square."""
    rng = np.random.default_rng(0)
    return (rng.random((slices, 70, 60)) * 900 * np.linspace(0.2, 3, slices)[:, None, None]).astype(np.int16)


def expected(bundle, pixels):
    """Probabilities by NumPy and torch alone."""
    low, high = np.percentile(pixels.astype(np.float32), (0.5, 99.5))
    scaled = torch.from_numpy(((pixels.astype(np.float32) - low) / (high - low)).clip(0, 1)).float()[None, None]
    network = resnet10(**NETWORK).eval()
    network.load_state_dict(torch.load(bundle / "models" / "model.pt", weights_only=True))
    with torch.no_grad():
        logits = network(torch.nn.functional.interpolate(scaled, size=(48, 48), mode="area"))
    return (logits / TEMPERATURE).softmax(1)[0].numpy()


def test_the_label_is_the_most_probable_class_and_the_probabilities_are_calibrated(deploy, bundle):
    classifier = deploy.Classifier(bundle)
    for pixels in series():
        answer, wanted = classifier(pixels), expected(bundle, pixels)
        np.testing.assert_allclose(list(answer.probabilities.values()), wanted, atol=1e-5)
        assert list(answer.probabilities) == CLASSES
        assert answer.label == CLASSES[int(wanted.argmax())]


@pytest.mark.parametrize("wanted", range(3))
def test_every_class_can_be_the_answer(deploy, bundle, wanted):
    classifier = deploy.Classifier(bundle)
    with torch.no_grad():
        classifier.network.fc.bias[wanted] += 20
    answer = classifier(series(1)[0])
    assert answer.label == CLASSES[wanted]
    assert answer.label != CLASSES[int(max(answer.probabilities.values()))] or wanted == 0  # the SDK's own rule


def test_the_report_has_a_line_a_slice_in_ascii(deploy, bundle):
    classifier = deploy.Classifier(bundle)
    classifier.classes = ["méningiome", *CLASSES[1:]]
    text = deploy.in_words([classifier(one) for one in deploy.slices_of(series())])
    assert text.isascii()
    assert [line.split(":")[0] for line in text.splitlines()[:-1]] == [f"slice {number}" for number in range(1, 6)]
    assert text.splitlines()[-1] == deploy.RESEARCH_ONLY


def test_an_array_is_classified_from_the_command_line(deploy, bundle, tmp_path, monkeypatch, capsys):
    np.save(tmp_path / "scan.npy", series(2))
    monkeypatch.setattr(sys, "argv", ["deploy_operator.py", str(bundle), str(tmp_path / "scan.npy")])
    deploy.main()
    assert capsys.readouterr().out.startswith("slice 1: ")


@pytest.mark.parametrize("shape", [(4,), (1, 2, 3, 4)])
def test_what_is_no_series_is_refused(deploy, shape):
    with pytest.raises(ValueError, match="a series has shape"):
        deploy.slices_of(np.zeros(shape))


def test_what_is_no_bundle_is_refused(deploy, bundle, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no configs/inference.json"):
        deploy.Classifier(tmp_path / "none")
    config = json.loads((bundle / "configs" / "inference.json").read_text())
    del config["classes"]
    (bundle / "configs" / "inference.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="has no classes"):
        deploy.Classifier(bundle)
