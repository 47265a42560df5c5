"""Evidence of networks whose behaviour is known by construction. References: scikit-learn and plain means."""

import json

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from torch import nn

from kdmri_monai.evaluation.errors import PredictionError
from kdmri_monai.evaluation.evidence import family_means, gather_evidence, write_evidence
from kdmri_monai.evaluation.resampling import Resampling

FEW = Resampling(200)
SIZE, PATCH = 24, 6


class Brightest(nn.Module):
    """The class whose brightness is the nearest to that of the brightest pixel, in the slice or in some rows of it."""

    def __init__(self, rows=slice(None)):
        super().__init__()
        self.seen, self.rows = nn.Identity(), rows
        self.levels = nn.Parameter(torch.tensor([0.5, 0.7, 0.9]))

    def forward(self, image):
        shown = torch.zeros_like(image)
        shown[:, :, self.rows] = image[:, :, self.rows]
        peak = self.seen(torch.relu(shown - 0.3)).amax((2, 3))  # (B, 1)
        centre = self.levels - 0.3
        return 400 * (peak * centre - centre**2 / 2)


def slices_with_a_tumour(families=12, per_family=4, corner=False, seed=0):
    """The tumour's brightness is its class, and with ``corner`` that of a mark in the corner too."""
    rng = np.random.default_rng(seed)
    number = np.repeat(np.arange(families), per_family)
    label = number % 3
    image = 0.1 + 0.1 * rng.random((len(number), 1, SIZE, SIZE))
    mask = np.zeros_like(image)
    for k, at in enumerate(rng.integers(6, SIZE - PATCH - 2, (len(number), 2))):
        mask[k, 0, at[0] : at[0] + PATCH, at[1] : at[1] + PATCH] = 1
    level = np.array([0.5, 0.7, 0.9])[label][:, None, None, None]
    image = np.where(mask > 0, level, image)
    if corner:
        image[:, :, 0, 0] = level[:, 0, 0]
    return {
        "image": torch.from_numpy(image).float(),
        "label": torch.from_numpy(label),
        "mask": torch.from_numpy(mask).to(torch.uint8),
        "has_mask": torch.ones(len(number), dtype=torch.bool),
        "id": [f"s{k}" for k in range(len(number))],
        "patient": [f"p{k}" for k in number],
        "family": [f"f{k}" for k in number],
    }


def in_batches(slices, size=7):
    count = len(slices["label"])
    return [{key: value[at : at + size] for key, value in slices.items()} for at in range(0, count, size)]


def gather(network, slices, **more):
    return gather_evidence(network, in_batches(slices), "cpu", "seen", **{"resampling": FEW, **more})


def test_a_network_that_reads_the_tumour_falls_to_chance_without_it():
    found = gather(Brightest(), slices_with_a_tumour(), fills=("mean", "black", "inpaint"))
    assert found["intact"]["balanced_accuracy"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert found["chance"] == pytest.approx(1 / 3)
    assert list(found["erased"]) == ["mean", "black", "inpaint"]
    for erased in found["erased"].values():
        assert erased["balanced_accuracy"]["value"] == pytest.approx(1 / 3)
        assert erased["difference"]["high"] < -0.6
    assert (found["slices"], found["families"], found["without_mask"]) == (48, 12, 0)


def test_a_network_that_reads_the_corner_is_caught():
    found = gather(Brightest(rows=slice(0, 3)), slices_with_a_tumour(corner=True))
    for erased in found["erased"].values():
        assert erased["balanced_accuracy"]["value"] == 1
        assert erased["difference"]["value"] == 0
    assert found["grad_cam"]["pointing_game"]["value"] == 0


def test_heat_in_the_tumour_is_measured_beside_its_chance():
    slices = slices_with_a_tumour()
    cam = gather(Brightest(), slices)["grad_cam"]
    area = PATCH**2 / SIZE**2
    assert (cam["slices"], cam["without_heat"], cam["layer"], cam["tolerance"]) == (48, 0, "seen", 2.0)
    assert cam["area"]["value"] == pytest.approx(area)
    assert cam["energy"]["value"] == 1  # all else is below the ReLU
    assert cam["energy_over_area"]["value"] == pytest.approx(1 / area)
    assert cam["mean_ratio"]["value"] == pytest.approx(1 / area)
    assert cam["pointing_game"]["value"] == 1
    wide = (PATCH + 4) ** 2 - 4 * 3  # a disc of radius 2 rounds the corners
    assert cam["pointing_chance"]["value"] == pytest.approx(wide / SIZE**2)


def test_the_ratio_of_means_is_not_the_mean_of_ratios():
    slices = slices_with_a_tumour()
    large = torch.arange(48) % 2 == 0
    slices["mask"][large] = 0
    slices["mask"][large, :, : SIZE // 2] = 1
    cam = gather(Brightest(), slices)["grad_cam"]
    energy, area = (cam[name]["value"] for name in ("energy", "area"))
    assert cam["energy_over_area"]["value"] == pytest.approx(energy / area)
    assert cam["mean_ratio"]["value"] > 1.5 * energy / area


class Fixed(nn.Module):
    """Answers given beforehand, by the brightness of the first pixel."""

    def __init__(self, logits):
        super().__init__()
        self.seen, self.logits = nn.Identity(), logits

    def forward(self, image):
        maps = self.seen(image)
        return self.logits[(image[:, 0, 0, 0] * 1000).round().long()] + 0 * maps.mean((1, 2, 3))[:, None]


def test_numbers_are_those_of_scikit_learn_and_plain_means():
    slices = slices_with_a_tumour()
    logits = torch.randn(48, 3, generator=torch.Generator().manual_seed(0))
    slices["image"][:, 0, 0, 0] = torch.arange(48) / 1000
    found = gather(Fixed(logits), slices)
    probabilities = logits.double().softmax(1)
    expected = balanced_accuracy_score(slices["label"], probabilities.argmax(1))
    for answers in (found["intact"], *found["erased"].values()):
        assert answers["balanced_accuracy"]["value"] == pytest.approx(expected)
        assert answers["confidence"]["value"] == pytest.approx(probabilities.max(1).values.mean().item())
        assert answers["confidence"]["low"] < answers["confidence"]["value"] < answers["confidence"]["high"]
    cam = found["grad_cam"]
    assert (cam["slices"], cam["without_heat"]) == (0, 48)
    assert np.isnan([cam["energy_over_area"]["value"], cam["pointing_game"]["low"]]).all()


def test_family_means_count_every_slice_of_a_family_as_often_as_the_family_is_drawn():
    rng = np.random.default_rng(0)
    family, value = rng.integers(0, 6, 40).astype(str), rng.normal(size=40)
    weights = rng.integers(0, 3, (5, 6)).astype(float)
    means = family_means(family, {"value": value})(weights)["value"]
    for weight, mean in zip(weights, means, strict=True):
        rows = np.repeat(np.arange(40), weight[np.searchsorted(np.unique(family), family)].astype(int))
        assert mean == pytest.approx(value[rows].mean())


def test_slices_without_mask_are_left_out_and_counted():
    slices = slices_with_a_tumour()
    has_mask = torch.from_numpy(np.random.default_rng(1).permutation(48) < 24)
    rows = has_mask.nonzero().flatten().tolist()
    some = {
        key: [value[row] for row in rows] if isinstance(value, list) else value[rows] for key, value in slices.items()
    }
    partly = {**slices, "has_mask": has_mask, "mask": slices["mask"] * has_mask[:, None, None, None]}
    found, expected = gather(Brightest(), partly), gather(Brightest(), some)
    assert found.pop("without_mask") == 24
    assert expected.pop("without_mask") == 0
    assert found == expected
    with pytest.raises(ValueError, match="none of the 48 slices has a mask"):
        gather(Brightest(), {**slices, "has_mask": torch.zeros(48, dtype=torch.bool)})


def test_the_network_is_left_in_its_mode_and_batches_do_not_matter():
    network, slices = Brightest().train(), slices_with_a_tumour()
    found = gather(network, slices)
    assert network.training
    assert network.levels.grad is None
    assert found == gather_evidence(network, in_batches(slices, 48), "cpu", "seen", resampling=FEW)


def test_wrong_batches_are_refused():
    slices = slices_with_a_tumour()
    without = {key: value for key, value in slices.items() if key != "family"}
    with pytest.raises(ValueError, match="evidence needs family in every batch, got image, label"):
        gather(Brightest(), without)
    with pytest.raises(PredictionError, match="already stands in row"):
        gather(Brightest(), {**slices, "id": ["same"] * 48})
    with pytest.raises(PredictionError, match="probabilities have shape"):
        gather(Brightest(), slices, classes=("smooth", "lobed"))


def test_it_is_written_whole_with_null_for_what_is_not_defined(tmp_path):
    path = tmp_path / "run" / "evidence.json"
    one_family_a_class = {key: value[:12] for key, value in slices_with_a_tumour().items()}
    found = gather(Brightest(), one_family_a_class)
    write_evidence(path, found, {"revision": "abc"})
    read = json.loads(path.read_text())
    assert read["format"] == "kdmri-evidence-1"
    assert read["provenance"] == {"revision": "abc"}
    assert read["intact"]["balanced_accuracy"] == {"value": 1.0, "low": None, "high": None}
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_evidence(path, {"value": float("inf")})
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["evidence.json"]


def test_a_geometry_heads_mask_is_judged():
    from kdmri_monai.networks import GeometryClassifier

    torch.manual_seed(0)
    backbone = nn.Sequential(
        nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    student = GeometryClassifier(backbone, ["1"], 3, (1, SIZE, SIZE))
    slices = slices_with_a_tumour()
    found = gather_evidence(student, in_batches(slices), "cpu", "backbone.1", resampling=FEW)["predicted_mask"]
    with torch.no_grad():
        shown = student.eval().predict_geometry(slices["image"]).mask
    shown = nn.functional.interpolate(shown, size=(SIZE, SIZE), mode="bilinear") >= 0.5
    overlap = [2 * (s & m).sum() / (s.sum() + m.sum()) for s, m in zip(shown, slices["mask"].bool(), strict=True)]
    assert found["dice"]["value"] == pytest.approx(float(np.mean(overlap)), rel=1e-5)
    assert found["area"]["value"] == pytest.approx(PATCH**2 / SIZE**2)
    assert "predicted_mask" not in gather(Brightest(), slices)
