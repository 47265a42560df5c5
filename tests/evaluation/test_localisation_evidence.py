"""The section on localisation, of networks that look where they are built to look. References: plain means, NumPy."""

import numpy as np
import pytest
import torch
from monai.networks.nets import ViT
from torch import nn

from kdmri_monai.evaluation.errors import PredictionError
from kdmri_monai.evaluation.localisation_evidence import localise, with_tumour
from kdmri_monai.evaluation.metrics_file import write_metrics
from kdmri_monai.evaluation.resampling import Resampling
from kdmri_monai.evaluation.slice_batches import read_batch
from kdmri_monai.networks import FirstOutput

FEW = Resampling(200)
SIZE, PATCH = 24, 6
NUMBERS = {"value", "low", "high"}
MEANS = ("energy", "area", "energy_over_area", "energy_minus_chance", "pointing_game", "pointing_chance",
         "pointing_minus_chance", "iou", "iou_chance", "iou_minus_chance")  # fmt: skip


class Brightest(nn.Module):
    """The class whose brightness is the nearest to that of the brightest pixel; heat is the brightness above 0.3."""

    def __init__(self):
        super().__init__()
        self.seen = nn.Identity()
        self.levels = nn.Parameter(torch.tensor([0.5, 0.7, 0.9]))

    def forward(self, image):
        peak = self.seen(torch.relu(image - 0.3)).amax((2, 3))
        centre = self.levels - 0.3
        return 400 * (peak * centre - centre**2 / 2)


class Learned(nn.Module):
    """Two channels of noise-like filters; which of them speak for a class is in its weights."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 8, 5, padding=2), nn.Linear(8, 3)

    def forward(self, image):
        return self.fc(self.conv(image).relu().mean((2, 3)))


def slices_with_a_tumour(families=9, per_family=3, seed=0):
    """The tumour's brightness is its class."""
    rng = np.random.default_rng(seed)
    number = np.repeat(np.arange(families), per_family)
    label = number % 3
    image = 0.1 + 0.1 * rng.random((len(number), 1, SIZE, SIZE))
    mask = np.zeros_like(image)
    for k, at in enumerate(rng.integers(2, SIZE - PATCH - 2, (len(number), 2))):
        mask[k, 0, at[0] : at[0] + PATCH, at[1] : at[1] + PATCH] = 1
    image = np.where(mask > 0, np.array([0.5, 0.7, 0.9])[label][:, None, None, None], image)
    return {
        "image": torch.from_numpy(image).float(),
        "label": torch.from_numpy(label),
        "mask": torch.from_numpy(mask).float(),
        "has_mask": torch.ones(len(number), dtype=torch.bool),
        "id": [f"{seed}/{k}" for k in range(len(number))],
        "patient": [f"p{k}" for k in number],
        "family": [f"f{k}" for k in number],
    }


class Counted:
    """Batches by split, and how often each split was read."""

    def __init__(self, size=5, **splits):
        self.splits, self.size, self.read = splits, size, []

    def __call__(self, split):
        self.read.append(split)
        slices = self.splits[split]
        for at in range(0, len(slices["label"]), self.size):
            yield {key: value[at : at + self.size] for key, value in slices.items()}


@pytest.fixture
def batches():
    return Counted(test=slices_with_a_tumour(seed=1), validation=slices_with_a_tumour(seed=2))


def run(network, batches, **more):
    return localise(network, batches, "cpu", **{"layer": "seen", "resampling": FEW, **more})


def test_heat_on_the_tumour_and_nowhere_else(batches):
    section, maps = run(Brightest(), batches)
    (cam,) = section["methods"]
    area = PATCH**2 / SIZE**2
    assert {name: section[name] for name in ("slices", "families", "without_heat", "tolerance")} == {
        "slices": 27, "families": 9, "without_heat": 0, "tolerance": 2.0,
    }  # fmt: skip
    assert (cam["method"], cam["layer"]) == ("grad_cam", "seen")
    assert all(set(cam[name]) == NUMBERS for name in MEANS)
    assert cam["energy"]["value"] == cam["pointing_game"]["value"] == cam["iou"]["value"] == 1
    assert cam["area"]["value"] == pytest.approx(area)
    assert cam["energy_over_area"]["value"] == pytest.approx(1 / area)
    assert cam["energy_minus_chance"]["low"] == pytest.approx(1 - area)
    assert cam["pointing_chance"]["value"] == pytest.approx(((PATCH + 4) ** 2 - 4 * 3) / SIZE**2)
    assert 0 < cam["iou_chance"]["value"] < 0.1
    assert cam["iou_minus_chance"]["value"] == pytest.approx(1 - cam["iou_chance"]["value"])
    assert maps.id.tolist() == [f"1/{k}" for k in range(27)]
    for row, mask in enumerate(slices_with_a_tumour(seed=1)["mask"].numpy()):
        np.testing.assert_array_equal(maps.heat[row] == 255, mask[0] > 0)


def test_means_are_those_over_the_slices_and_differences_are_paired(batches):
    """Heat of a graded image; every number again from its definition."""
    net = Brightest()
    slices = batches.splits["test"]
    slices["image"] += 0.5 * torch.rand(27, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    cam = run(net, batches, checked=0)[0]["methods"][0]
    heat = torch.relu(slices["image"] - 0.3).numpy()[:, 0].astype(float)
    inside = slices["mask"].numpy()[:, 0] > 0
    energy = (heat * inside).sum((1, 2)) / heat.sum((1, 2))
    hot = heat >= cam["iou_threshold"] * heat.max((1, 2), keepdims=True)
    iou = (hot & inside).sum((1, 2)) / (hot | inside).sum((1, 2))
    assert 0 < energy.min() < energy.max() < 1
    assert cam["energy"]["value"] == pytest.approx(energy.mean(), rel=1e-6)
    assert cam["iou"]["value"] == pytest.approx(iou.mean(), abs=1e-3)
    for name, measure, chance in (("energy", "energy", "area"), ("pointing", "pointing_game", "pointing_chance"),
                                  ("iou", "iou", "iou_chance")):  # fmt: skip
        assert cam[f"{name}_minus_chance"]["value"] == pytest.approx(cam[measure]["value"] - cam[chance]["value"])
    widths = [cam[name]["high"] - cam[name]["low"] for name in ("energy_minus_chance", "energy", "area")]
    assert widths[0] == pytest.approx(widths[1])  # the tumours are of one size here
    assert widths[2] == pytest.approx(0)


def test_the_threshold_comes_from_the_other_split_alone(batches):
    """Around the validation tumours lies a ring of 60 % of the heat, as part of the tumour."""
    slices = batches.splits["validation"]
    slices["mask"][:] = 0
    slices["image"][:] = 0.1
    slices["mask"][:, :, 4:12, 4:12] = 1
    slices["image"][:, :, 4:12, 4:12] = 0.3 + 0.6 * 0.6
    slices["image"][:, :, 6:10, 6:10] = 0.9
    slices["image"][:, :, 15:20, 15:20] = 0.3 + 0.52 * 0.6  # outside, and a little less hot
    first = run(Brightest(), batches)[0]["methods"][0]
    assert first["iou_threshold"] == 0.55
    for key in ("image", "mask"):
        batches.splits["test"][key] = batches.splits["test"][key].flip(0)
    assert run(Brightest(), batches)[0]["methods"][0]["iou_threshold"] == 0.55
    assert batches.read == ["validation", "test", "test"] * 2


def test_batches_do_not_matter_and_the_network_is_left_as_it_was(batches):
    net = Brightest().train()
    section, maps = run(net, batches)
    assert net.training
    assert net.levels.grad is None
    assert not net._forward_pre_hooks
    again, same = run(net, Counted(27, **batches.splits))
    assert section == again
    np.testing.assert_array_equal(maps.heat, same.heat)


def test_random_weights_tell_learned_heat_from_heat_of_the_image(batches):
    """Of one channel the heat is the image whatever the weights; that of many filters is their mixture."""
    torch.manual_seed(0)
    filters = Learned()
    image, learned, one_draw = (
        run(net, batches, layer=layer, draws=draws)[0]["methods"][0]["randomised"]
        for net, layer, draws in ((Positive(), "seen", 3), (filters, "conv", 3), (filters, "conv", 1))
    )
    assert image["similarity"]["value"] == pytest.approx(1)
    assert image["ssim"]["value"] == pytest.approx(1)
    assert learned["similarity"]["high"] < 0.9
    assert learned["similarity"]["value"] != pytest.approx(one_draw["similarity"]["value"])  # draws differ
    assert (image["slices"], image["draws"]) == (27, 3)
    assert set(image["energy_over_area"]) == NUMBERS


class Positive(nn.Module):
    """Logits that rise with the brightness whatever the weight, most for the last class."""

    def __init__(self):
        super().__init__()
        self.seen, self.fc = nn.Identity(), nn.Linear(1, 3)

    def forward(self, image):
        return (self.fc.weight.abs()[:, 0] + 0.1) * self.seen(image).mean((2, 3))


def test_the_check_takes_so_many_slices_spread_evenly_and_may_be_left_out(batches):
    found = run(Brightest(), batches, checked=4, draws=2)[0]["methods"][0]["randomised"]
    assert (found["slices"], found["draws"]) == (4, 2)
    batches.read.clear()
    assert run(Brightest(), batches, checked=0)[0]["methods"][0]["randomised"] is None
    assert batches.read == ["validation", "test"]
    with pytest.raises(ValueError, match="checked is -1 and draws 3"):
        run(Brightest(), batches, checked=-1)


def test_slices_without_tumour_or_heat_are_left_out(batches, tmp_path):
    slices = batches.splits["test"]
    slices["has_mask"][::3] = False
    slices["mask"][1] = 0  # a mask without tumour
    slices["image"][2] = 0.1  # nothing hot
    section, maps = run(Brightest(), batches)
    assert (section["slices"], section["without_heat"], len(maps)) == (17, 1, 17)
    assert section["methods"][0]["energy"]["value"] == 1
    assert maps.maximum[maps.id == "1/2"] == 0
    slices["image"][:] = 0.1
    cold = run(Brightest(), batches)[0]
    assert (cold["slices"], cold["without_heat"]) == (17, 17)
    assert np.isnan([cold["methods"][0][name]["value"] for name in MEANS]).all()
    assert np.isnan(cold["methods"][0]["randomised"]["similarity"]["value"])
    write_metrics(cold, tmp_path / "cold.json")
    batches.splits["validation"]["image"][:] = 0.1
    assert np.isnan(run(Brightest(), batches)[0]["methods"][0]["iou_threshold"])


def test_a_vit_is_shown_by_both_methods(batches):
    torch.manual_seed(0)
    vit = FirstOutput(ViT(1, SIZE, 4, 24, 48, 3, 2, classification=True, num_classes=3, spatial_dims=2,
                          post_activation=None))  # fmt: skip
    section, maps = run(vit, batches, layer=None, draws=1)
    assert [(part["method"], part["layer"]) for part in section["methods"]] == [
        ("grad_cam", "network.blocks.1"),
        ("attention_rollout", "every block"),
    ]
    for part in section["methods"]:
        assert set(MEANS) < set(part)
        assert np.isfinite([part["energy"]["value"], part["iou"]["value"], part["iou_threshold"]]).all()
    rolled = section["methods"][1]
    assert rolled["energy_over_area"]["value"] == pytest.approx(1, abs=0.2)  # untrained: attention is nearly even
    assert rolled["without_heat"] == 0
    assert maps.method == "grad_cam"


class GivenMasks(Brightest):
    """Notes whether it was given masks."""

    privileged_keys = ("mask", "has_mask")

    def forward(self, image, mask=None, has_mask=None):
        self.was_given = has_mask is not None and mask is not None and bool(mask.any())
        return super().forward(image)


def test_a_network_that_is_given_masks_gets_them_and_is_shown_by_its_image_branch(batches):
    net = GivenMasks()
    section, _ = run(net, batches)
    assert net.was_given
    assert section["methods"][0]["energy"]["value"] == 1
    assert not net._forward_pre_hooks


def test_what_cannot_be_examined_is_skipped_with_the_reason(batches):
    flat = nn.Sequential(nn.Flatten(), nn.Linear(SIZE**2, 3))
    section, maps = run(flat, batches, layer=None)
    assert section["skipped"].startswith("no layer of Sequential gives maps")
    assert maps is None
    batches.splits["test"]["has_mask"][:] = False
    assert run(Brightest(), batches) == ({"skipped": "no test slice has a mask"}, None)
    section, _ = run(Brightest(), batches, threshold_split="test")
    assert section["skipped"].startswith("no test slice has a mask, on which")


def test_wrong_tables_are_refused(batches):
    with pytest.raises(PredictionError, match="probabilities have shape"):
        run(Brightest(), batches, classes=("smooth", "lobed"))
    batches.splits["test"]["id"] = ["same"] * 27
    with pytest.raises(PredictionError, match="already stands in row"):
        run(Brightest(), batches)


def test_only_slices_with_a_tumour_are_given(batches):
    slices = batches.splits["test"]
    slices["has_mask"][:5] = False
    found = list(with_tumour(batches("test"), "cpu"))
    assert [len(batch) for batch in found] == [5, 5, 5, 5, 2]
    whole = read_batch(slices, "cpu")
    assert torch.equal(torch.cat([batch.image for batch in found]), whole.image[5:])
