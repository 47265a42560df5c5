"""Batches: augmented once, masks with the image, plain tensors."""

import kornia
import pytest
import torch
from kornia.augmentation import AugmentationSequential, RandomAffine, RandomGaussianNoise, RandomHorizontalFlip
from monai.data import MetaTensor
from torch import nn

from kdmri_monai.engines import AugmentedBatch


@pytest.fixture
def batch():
    image = torch.zeros(6, 1, 32, 32)
    image[:, :, 4:12, 6:10] = 1.0
    return {
        "image": MetaTensor(image),
        "label": torch.arange(6) % 3,
        "mask": image.to(torch.uint8),
        "has_mask": torch.tensor([True, True, False, True, True, True]),
        "id": list("abcdef"),
    }


class Shift(nn.Module):
    """Moves everything to the right, images and masks."""

    def __init__(self, pixels):
        super().__init__()
        self.pixels = pixels

    def forward(self, *tensors, data_keys=("input",)):
        assert len(tensors) == len(data_keys)
        moved = [nn.functional.pad(t, (self.pixels, 0))[..., : t.shape[-1]] for t in tensors]
        return moved if len(moved) > 1 else moved[0]


def test_without_augmentation_the_images_are_as_they_were(batch):
    before = batch["image"].as_tensor().clone()
    image, label = AugmentedBatch()(batch, "cpu")
    assert type(image) is torch.Tensor
    assert torch.equal(image, before)
    assert torch.equal(label, batch["label"])
    assert batch["mask"].dtype == torch.uint8


@pytest.mark.parametrize("resample", ["nearest", "bilinear"])
def test_masks_follow_every_geometric_step_and_no_intensity_step(batch, resample):
    torch.manual_seed(0)
    augmentation = AugmentationSequential(
        RandomHorizontalFlip(p=0.5),
        RandomAffine(degrees=90.0, translate=(0.2, 0.2), p=1.0),
        data_keys=["input"],
        extra_args={kornia.constants.DataKey.MASK: {"resample": resample, "align_corners": False}},
    )
    image, _ = AugmentedBatch(augmentation, mask_keys=["mask"])(batch, "cpu")
    assert batch["mask"].dtype == torch.float32
    assert set(batch["mask"].unique().tolist()) == {0.0, 1.0}
    overlap = ((image > 0.5) & (batch["mask"] > 0.5)).sum() / ((image > 0.5) | (batch["mask"] > 0.5)).sum()
    assert overlap > 0.9
    noisy = AugmentationSequential(RandomGaussianNoise(std=1.0, p=1.0), data_keys=["input"])
    before = batch["mask"].clone()
    AugmentedBatch(noisy, mask_keys=["mask"])(batch, "cpu")
    assert torch.equal(batch["mask"], before)


def test_terms_find_the_augmented_image_in_the_batch(batch):
    augmentation = AugmentationSequential(RandomGaussianNoise(std=1.0, p=1.0), data_keys=["input"])
    image, _ = AugmentedBatch(augmentation)(batch, "cpu")
    assert batch["image"] is image


def test_the_same_seed_gives_the_same_view(batch):
    augmentation = AugmentationSequential(RandomAffine(degrees=30.0, p=1.0), data_keys=["input"])
    views = []
    for _ in range(2):
        torch.manual_seed(7)
        views.append(AugmentedBatch(augmentation)(dict(batch), "cpu")[0])
    assert torch.equal(*views)


def test_a_mask_that_has_left_the_image_is_no_mask_any_more(batch):
    batch["mask"][1, :, :, 1] = 1  # reaches further to the left than the others
    AugmentedBatch(Shift(27), mask_keys=["mask"])(batch, "cpu")
    assert batch["has_mask"].tolist() == [False, True, False, False, False, False]
    assert batch["has_mask"].dtype == torch.bool


def test_where_the_batch_does_not_say_it_a_mask_is_there_if_it_is_not_empty(batch):
    del batch["has_mask"]
    batch["mask"][4] = 0
    AugmentedBatch(mask_keys=["mask"])(batch, "cpu")
    assert batch["has_mask"].tolist() == [True, True, True, True, False, True]


def test_every_view_is_augmented_on_its_own_and_everything_is_repeated_with_it(batch):
    batch["scale"], batch["note"] = torch.arange(6), "one for the batch"
    before = {key: batch[key] for key in ("label", "id", "scale")}
    torch.manual_seed(0)
    augmentation = AugmentationSequential(RandomAffine(degrees=90.0, p=1.0), data_keys=["input"])
    image, label = AugmentedBatch(augmentation, mask_keys=["mask"], views=2)(batch, "cpu")
    assert image.shape == batch["mask"].shape == (12, 1, 32, 32)
    assert torch.equal(label, torch.cat([before["label"]] * 2))
    assert torch.equal(batch["scale"], torch.cat([before["scale"]] * 2))
    assert batch["id"] == before["id"] * 2
    assert batch["note"] == "one for the batch"
    assert batch["has_mask"].tolist() == [True, True, False, True, True, True] * 2
    assert all(not torch.allclose(image[place], image[place + 6], atol=0.1) for place in range(6))
    overlap = ((image > 0.5) & (batch["mask"] > 0.5)).sum() / ((image > 0.5) | (batch["mask"] > 0.5)).sum()
    assert overlap > 0.9


def test_views_without_augmentation_are_copies(batch):
    before = batch["image"].as_tensor().clone()
    image, _ = AugmentedBatch(views=3)(batch, "cpu")
    assert torch.equal(image, torch.cat([before] * 3))


def test_privileged_entries_are_given_as_keyword_arguments_on_the_device(batch):
    prepare = AugmentedBatch(mask_keys=["mask"], privileged_keys=["mask", "has_mask"])
    image, label, args, privileged = prepare(batch, "cpu")
    assert args == ()
    assert list(privileged) == ["mask", "has_mask"]
    assert privileged["mask"] is batch["mask"]
    assert privileged["has_mask"] is batch["has_mask"]
    assert torch.equal(privileged["mask"], image)
    assert torch.equal(label, batch["label"])


def test_everything_that_is_handed_on_is_moved_to_the_device(batch):
    batch["border"] = torch.zeros(6, 1, 32, 32)
    prepare = AugmentedBatch(mask_keys=["mask"], privileged_keys=["border", "has_mask"])
    image, label, _, privileged = prepare(batch, "meta")
    devices = {tensor.device.type for tensor in (image, label, batch["mask"], *privileged.values())}
    assert devices == {"meta"}


def test_erasing_comes_before_mixing_and_both_change_image_and_target(batch):
    def erase(batchdata, target):
        assert target is batchdata["label"]
        return batchdata["image"] + 1.0, torch.full((6, 3), 0.5)

    def mix(batchdata, target):
        assert target.unique().tolist() == [0.5]
        assert batchdata["image"].max() == 2.0
        return batchdata["image"] * 10.0, 2 * target

    image, target = AugmentedBatch(erasing=erase, mixing=mix)(batch, "cpu")
    assert batch["image"] is image
    assert image.max() == 20.0
    assert torch.equal(target, torch.ones(6, 3))
    assert torch.equal(batch["label"], torch.arange(6) % 3)


@pytest.mark.parametrize("arguments", [{"mask_keys": ["distance"]}, {"privileged_keys": ["distance"]}])
def test_a_missing_mask_is_an_error(batch, arguments):
    with pytest.raises(KeyError, match="distance"):
        AugmentedBatch(**arguments)(batch, "cpu")


def test_no_view_at_all_is_an_error():
    with pytest.raises(ValueError, match="views is 0, a batch has at least 1"):
        AugmentedBatch(views=0)
