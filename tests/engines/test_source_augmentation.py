"""Noise of magnitude images and blanked air: what they do to grey values, and that they can be replayed."""

import math

import pytest
import torch
from kornia.augmentation import AugmentationSequential

from kdmri_monai.engines import RandomNoiseFloor, RandomRicianNoise, ReplayedAugmentation


def test_air_is_blanked_below_the_floor_and_one_stays_one():
    grey = torch.tensor([0.0, 0.02, 0.05, 0.5, 1.0]).reshape(1, 1, 1, 5)
    blanked = RandomNoiseFloor((0.05, 0.05), p=1.0)(grey).flatten()
    torch.testing.assert_close(blanked, torch.tensor([0.0, 0.0, 0.0, 0.45 / 0.95, 1.0]))


def test_floors_differ_between_samples_and_stay_in_their_range():
    torch.manual_seed(0)
    grey = torch.full((64, 1, 2, 2), 0.5)
    floors = (0.5 - RandomNoiseFloor((0.0, 0.2), p=1.0)(grey)[:, 0, 0, 0]) * 2  # solved for small floors
    assert floors.min() >= 0
    assert floors.unique().numel() > 60


def test_noise_in_the_air_is_of_rayleigh_and_elsewhere_gaussian():
    torch.manual_seed(0)
    noise = RandomRicianNoise((0.02, 0.02), p=1.0)
    air, tissue = noise(torch.zeros(4, 1, 200, 200)), noise(torch.full((4, 1, 200, 200), 0.5))
    assert air.min() >= 0
    assert float(air.mean()) == pytest.approx(0.02 * math.sqrt(math.pi / 2), rel=0.02)
    assert float(tissue.mean()) == pytest.approx(0.5, rel=0.01)
    assert float(tissue.std()) == pytest.approx(0.02, rel=0.02)


def test_samples_are_noisy_to_different_degrees_and_some_not_at_all():
    torch.manual_seed(0)
    made = RandomRicianNoise((0.0, 0.1), p=0.5)(torch.full((64, 1, 32, 32), 0.5))
    strength = (made - 0.5).flatten(1).std(dim=1)
    untouched = int((strength == 0).sum())
    assert 16 < untouched < 48
    assert strength.unique().numel() == 64 - untouched + 1


def test_views_are_replayed():
    images = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    steps = AugmentationSequential(RandomRicianNoise(p=0.5), RandomNoiseFloor(p=0.5), data_keys=["input"])
    replayed = ReplayedAugmentation(steps, seed=3)
    replayed.set_epoch(1)
    replayed.prepare([str(number) for number in range(6)])
    whole = replayed(images)
    replayed.prepare(["4", "1"])
    torch.testing.assert_close(replayed(images[[4, 1]]), whole[[4, 1]], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("step", "given"),
    [(RandomNoiseFloor, (0.2, 0.1)), (RandomNoiseFloor, (0.0, 1.0)), (RandomRicianNoise, (-0.1, 0.1))],
)
def test_ranges_out_of_order_are_refused(step, given):
    with pytest.raises(ValueError, match="expected 0 <= smallest <= largest"):
        step(given)
