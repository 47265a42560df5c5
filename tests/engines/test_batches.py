"""Batches: augmented once, masks with the image, plain tensors."""

import pytest
import torch
from kornia.augmentation import AugmentationSequential, RandomAffine, RandomGaussianNoise, RandomHorizontalFlip
from monai.data import MetaTensor

from kdmri_monai.engines import AugmentedBatch


@pytest.fixture
def batch():
    image = torch.zeros(6, 1, 32, 32)
    image[:, :, 4:12, 6:10] = 1.0
    return {"image": MetaTensor(image), "label": torch.arange(6) % 3, "mask": image.clone(), "id": list("abcdef")}


def test_without_augmentation_the_images_are_as_they_were(batch):
    before = batch["image"].as_tensor().clone()
    image, label = AugmentedBatch()(batch, "cpu")
    assert type(image) is torch.Tensor
    assert torch.equal(image, before)
    assert torch.equal(label, batch["label"])


def test_masks_follow_every_geometric_step_and_no_intensity_step(batch):
    torch.manual_seed(0)
    augmentation = AugmentationSequential(
        RandomHorizontalFlip(p=0.5), RandomAffine(degrees=90.0, translate=(0.2, 0.2), p=1.0), data_keys=["input"]
    )
    image, _ = AugmentedBatch(augmentation, mask_keys=["mask"])(batch, "cpu")
    assert not torch.equal(image, torch.zeros_like(image))
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


def test_a_missing_mask_is_an_error(batch):
    with pytest.raises(KeyError, match="distance"):
        AugmentedBatch(mask_keys=["distance"])(batch, "cpu")
