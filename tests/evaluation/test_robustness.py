"""Robustness: balanced accuracy by corruption and severity, and what is lost of what lies above chance."""

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from torch import nn

from kdmri_monai.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from kdmri_monai.evaluation.resampling import Resampling
from kdmri_monai.evaluation.robustness import relative_degradations, robustness
from kdmri_monai.evaluation.slice_batches import read_batch

CLASSES = ("meningioma", "glioma", "pituitary tumour")
FEW = Resampling(60)


class Brightness(nn.Module):
    """Tells the class by the mean brightness; counts how often it is asked."""

    privileged_keys: tuple[str, ...] = ()

    def __init__(self):
        super().__init__()
        self.asked = 0

    def forward(self, image):
        self.asked += 1
        mean = image.mean(dim=(1, 2, 3))
        return -50 * (mean[:, None] - torch.tensor([0.1, 0.25, 0.4])).abs()


class Constant(Brightness):
    def forward(self, image):
        return torch.tensor([1.0, 0.0, 0.0]).expand(len(image), 3)


@pytest.fixture
def batches():
    rng, made = np.random.default_rng(0), []
    for start in range(0, 36, 9):
        label = torch.arange(9) % 3
        image = torch.from_numpy(rng.normal(0, 0.02, (9, 1, 32, 32))).float()
        image = (image + torch.tensor([0.1, 0.25, 0.4])[label, None, None, None]).clamp(0, 1)
        names = [f"s{start + number}" for number in range(9)]
        masks = {"mask": torch.zeros_like(image), "has_mask": torch.zeros(9, dtype=torch.bool)}
        made.append({"image": image, "label": label, **masks, **dict.fromkeys(("id", "patient", "family"), names)})
    return made


def test_numbers_are_those_of_a_plain_loop(batches):
    section = robustness(Brightness(), batches, "cpu", CLASSES, FEW)
    for one, corruption in zip(section["corruptions"], CORRUPTIONS, strict=True):
        scores = []
        for severity in SEVERITIES:
            parts = [corrupt(read_batch(batch, "cpu"), corruption, severity) for batch in batches]
            said = torch.cat([Brightness()(part.image).argmax(1) for part in parts])
            scores.append(balanced_accuracy_score(torch.cat([part.label for part in parts]), said))
        assert [number["value"] for number in one["balanced_accuracy"]] == pytest.approx(scores)
        lost = np.mean(
            [(section["intact"]["value"] - score) / (section["intact"]["value"] - 1 / 3) for score in scores]
        )
        assert one["relative_degradation"]["value"] == pytest.approx(lost)
    means = [one["relative_degradation"]["value"] for one in section["corruptions"]]
    assert section["mean_relative_degradation"]["value"] == pytest.approx(np.mean(means))


def test_a_network_by_brightness_is_hurt_by_contrast_and_not_by_blur(batches):
    found = {one["name"]: one for one in robustness(Brightness(), batches, "cpu", CLASSES, FEW)["corruptions"]}
    assert found["contrast"]["relative_degradation"]["value"] > 0.5
    assert found["blur"]["relative_degradation"]["value"] == pytest.approx(0)


def test_every_batch_is_read_once_and_shown_once_a_condition(batches):
    network, read = Brightness(), []

    def once():
        for batch in batches:
            read.append(batch)
            yield batch

    robustness(network, once(), "cpu", CLASSES, FEW, corruptions=CORRUPTIONS[:2])
    assert len(read) == len(batches)
    assert network.asked == len(batches) * (1 + 2 * len(SEVERITIES))


def test_a_network_at_chance_has_nothing_to_lose(batches):
    section = robustness(Constant(), batches, "cpu", CLASSES, FEW, corruptions=CORRUPTIONS[:1])
    assert section["intact"]["value"] == pytest.approx(1 / 3)
    assert np.isnan(section["mean_relative_degradation"]["value"])


def test_no_slices_are_refused():
    with pytest.raises(ValueError, match="no slices to corrupt"):
        robustness(Brightness(), [], "cpu", CLASSES, FEW)


def test_a_teacher_is_given_the_mask_where_the_head_is(batches):
    class Teacher(Brightness):
        privileged_keys = ("mask",)
        seen: list[torch.Tensor] = []  # noqa: RUF012

        def forward(self, image, mask):
            self.seen.append(mask)
            return super().forward(image)

    for batch in batches:
        batch["mask"][..., 4:10, 4:20] = 1
        batch["has_mask"][:] = True
    rotation = [one for one in CORRUPTIONS if one.name == "rotation"]
    robustness(Teacher(), batches[:1], "cpu", CLASSES, FEW, corruptions=rotation)
    assert not torch.equal(Teacher.seen[0], Teacher.seen[-1])


def test_degradations_are_set_against_the_baseline():
    def section(first, mean):
        return {"corruptions": [{"name": "blur", "relative_degradation": {"value": first}}],
                "mean_relative_degradation": {"value": mean}}  # fmt: skip

    found = relative_degradations({"baseline": section(0.2, 0.0), "student": section(0.1, None)}, "baseline")
    assert found["baseline"]["blur"] == 1
    assert found["student"]["blur"] == pytest.approx(0.5)
    assert np.isnan(found["baseline"]["mean"])
    assert np.isnan(found["student"]["mean"])
    with pytest.raises(ValueError, match="'other', the runs are baseline"):
        relative_degradations({"baseline": section(0.2, 0.1)}, "other")
