"""Augmentation that is replayed: one view for a sample and an epoch, whatever batch the sample is in."""

import pytest
import torch
from ignite.engine import Engine
from kornia import augmentation as K
from torch import nn

from kdmri_monai.engines.replay import ReplayedAugmentation, numbered, view_seed

IDS = [f"slice {number}" for number in range(12)]


def steps(*more):
    return K.AugmentationSequential(
        K.RandomHorizontalFlip(p=0.5),
        K.RandomAffine(30.0, translate=(0.1, 0.1), scale=(0.8, 1.2), shear=10.0, p=0.9),
        K.RandomGamma((0.7, 1.4), (1.0, 1.0), p=0.5),
        K.RandomContrast((0.8, 1.2), p=0.5),
        K.RandomGaussianBlur((5, 5), (0.1, 1.0), p=0.5),
        K.RandomGaussianNoise(mean=0.01, std=0.05, p=0.5),
        *more,
        data_keys=["input"],
    )


@pytest.fixture
def images():
    return torch.rand(12, 1, 20, 24, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def replayed():
    made = ReplayedAugmentation(steps(), seed=4)
    made.set_epoch(2)
    return made


def views(augmentation, images, places, **kwargs):
    augmentation.prepare([IDS[place] for place in places])
    return augmentation(images[places], **kwargs)


def test_a_sample_has_its_view_in_every_batch(replayed, images):
    whole = views(replayed, images, list(range(12)))
    for places in ([3], [11, 0, 5], [8, 7], list(range(12))[::-1]):
        torch.testing.assert_close(views(replayed, images, places), whole[places], atol=1e-6, rtol=0)
    assert (whole - images).abs().flatten(1).amax(dim=1).gt(0.01).sum() >= 9


def test_the_view_is_that_of_the_sample_augmented_alone(replayed, images):
    torch.manual_seed(view_seed(4, 2, IDS[6]))
    alone = steps()(images[6:7])
    torch.testing.assert_close(views(replayed, images, [1, 6, 2])[1:2], alone, atol=1e-6, rtol=0)


def test_noise_is_replayed_and_differs_between_samples(images):
    noisy = ReplayedAugmentation(K.AugmentationSequential(K.RandomGaussianNoise(0.2, 0.5, p=0.5), data_keys=["input"]))
    noisy.set_epoch(1)
    noise = views(noisy, images, list(range(12))) - images
    untouched = noise.flatten(1).abs().amax(dim=1) == 0
    assert 0 < untouched.sum() < 12
    drawn = noise[~untouched]
    assert drawn.mean() == pytest.approx(0.2, abs=0.05)
    assert drawn.std() == pytest.approx(0.5, abs=0.05)
    assert len(drawn.unique(dim=0)) == len(drawn)
    torch.testing.assert_close(views(noisy, images, [9, 1, 4]) - images[[9, 1, 4]], noise[[9, 1, 4]])


def test_masks_follow_the_images(images):
    replayed = ReplayedAugmentation(
        K.AugmentationSequential(K.RandomHorizontalFlip(p=0.5), K.RandomAffine(45.0, p=0.8), data_keys=["input"])
    )
    replayed.set_epoch(3)
    masks = (images > 0.5).float()
    keys = {"data_keys": ["input", "mask"]}
    replayed.prepare(IDS)
    image, mask = replayed(images, masks, **keys)
    places = [5, 2, 10]
    replayed.prepare([IDS[place] for place in places])
    again = replayed(images[places], masks[places], **keys)
    torch.testing.assert_close(again[0], image[places], atol=1e-6, rtol=0)
    torch.testing.assert_close(again[1], mask[places], atol=1e-6, rtol=0)
    replayed.prepare(IDS)
    moved = replayed(masks)  # as images they take the same way, but for the interpolation
    assert (moved.round() == mask.round()).float().mean() > 0.9
    assert (masks == mask.round()).float().mean() < 0.75


def test_epochs_and_seeds_give_other_views(images):
    def first(seed, epoch):
        replayed = ReplayedAugmentation(steps(), seed)
        replayed.set_epoch(epoch)
        return views(replayed, images, list(range(12)))

    torch.testing.assert_close(first(0, 1), first(0, 1), atol=0, rtol=0)
    others = torch.stack([first(0, 1), first(0, 2), first(1, 1)])
    assert len(others.unique(dim=0)) == 3


def test_an_id_that_stands_twice_in_a_batch_has_two_views(replayed, images):
    twice = views(replayed, images, [4, 4, 7, 4])
    assert len(twice[[0, 1, 3]].unique(dim=0)) == 3
    torch.testing.assert_close(views(replayed, images, [4])[0], twice[0], atol=1e-6, rtol=0)
    assert numbered(["a", "b", "a", "a"]) == [("a", 0), ("b", 0), ("a", 1), ("a", 2)]


def test_the_generator_of_everybody_else_is_left_alone(replayed, images):
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    views(replayed, images, [0, 1, 2])
    assert torch.equal(torch.rand(3), expected)


def test_the_generator_does_not_change_the_views(replayed, images):
    torch.manual_seed(1)
    once = views(replayed, images, [0, 1, 2])
    torch.manual_seed(2)
    assert torch.equal(views(replayed, images, [0, 1, 2]), once)


def test_a_move_of_the_module_does_not_change_the_draws(replayed, images):
    once = views(replayed, images, [0, 1, 2])
    assert torch.equal(views(replayed.to(torch.float64), images, [0, 1, 2]), once)


def test_volumes_are_replayed():
    volumes = torch.rand(4, 1, 6, 8, 10)
    augmentation = K.AugmentationSequential(K.RandomHorizontalFlip3D(p=0.5), K.RandomRotation3D(20.0, p=0.7))
    replayed = ReplayedAugmentation(augmentation)
    replayed.set_epoch(1)
    whole = views(replayed, volumes, [0, 1, 2, 3])
    torch.testing.assert_close(views(replayed, volumes, [2, 0]), whole[[2, 0]], atol=1e-5, rtol=0)
    assert not torch.equal(whole, volumes)


def test_steps_inside_steps_are_replayed(images):
    inner = K.ImageSequential(K.RandomVerticalFlip(p=0.5), K.RandomGaussianNoise(std=0.1, p=0.5))
    replayed = ReplayedAugmentation(steps(inner, nn.Identity()))
    replayed.set_epoch(1)
    whole = views(replayed, images, list(range(12)))
    torch.testing.assert_close(views(replayed, images, [9, 3]), whole[[9, 3]], atol=1e-6, rtol=0)


def test_the_trainer_tells_the_epoch(images):
    replayed = ReplayedAugmentation(steps())
    seen = []
    engine = Engine(lambda _engine, batch: seen.append(views(replayed, batch, [0, 1])))
    replayed.attach(engine)
    engine.run([images], max_epochs=2)
    replayed.set_epoch(2)
    assert torch.equal(seen[1], views(replayed, images, [0, 1]))
    assert not torch.equal(seen[0], seen[1])


def test_a_call_without_epoch_or_ids_is_refused(images):
    replayed = ReplayedAugmentation(steps())
    with pytest.raises(ValueError, match="knows no epoch: put it among the trainer's handlers"):
        views(replayed, images, [0])
    replayed.set_epoch(1)
    with pytest.raises(ValueError, match="an id for each of 12 samples, told were none"):
        replayed(images)
    replayed.prepare(IDS[:3])
    with pytest.raises(ValueError, match="an id for each of 12 samples, told were 3"):
        replayed(images)
    views(replayed, images, [0])
    with pytest.raises(ValueError, match="told were none"):  # ids are of one call
        replayed(images[:1])


@pytest.mark.parametrize(
    ("augmentation", "message"),
    [
        (nn.Identity(), "wants kornia's AugmentationSequential, got Identity"),
        (steps(K.RandomMixUpV2()), "RandomMixUpV2 mixes samples"),
        (K.AugmentationSequential(K.RandomVerticalFlip(), K.RandomInvert(), random_apply=1), "random order"),
        (steps(K.RandomVerticalFlip(same_on_batch=True)), "RandomVerticalFlip does the same to a whole batch"),
    ],
)
def test_augmentation_that_cannot_be_replayed_is_refused(augmentation, message):
    with pytest.raises(ValueError, match=message):
        ReplayedAugmentation(augmentation)


def test_draws_for_a_whole_batch_are_found_and_refused():
    replayed = ReplayedAugmentation(K.AugmentationSequential(K.ColorJiggle(0.1, 0.1, 0.1, 0.1, p=1.0)))
    replayed.set_epoch(1)
    with pytest.raises(ValueError, match="ColorJiggle_0 draws `order` for a batch as a whole"):
        views(replayed, torch.rand(12, 3, 8, 8), [0, 1])


def test_draws_in_the_middle_of_a_step_are_found_and_refused(images):
    replayed = ReplayedAugmentation(steps(nn.Dropout(0.5)))
    replayed.set_epoch(1)
    with pytest.raises(ValueError, match="draws random numbers while it is applied"):
        views(replayed, images, [0, 1])
