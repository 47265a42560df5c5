"""Corruptions: alike for a slice whatever its batch, stronger with severity, and what their names say."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.stats import rice

from kdmri_monai.evaluation import corruptions_intensity, corruptions_kspace, corruptions_space
from kdmri_monai.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from kdmri_monai.evaluation.slice_batches import SliceBatch

EVERY = pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda one: one.name)


def head(rows=64, columns=64):
    """A bright ellipse with texture, off the centre of a black slice."""
    y, x = np.mgrid[:rows, :columns] / max(rows, columns)
    inside = ((y - 0.45) / 0.3) ** 2 + ((x - 0.4) / 0.22) ** 2 < 1
    texture = ndimage.gaussian_filter(np.random.default_rng(0).random((rows, columns)), 2)
    return torch.from_numpy(inside * (0.3 + 0.5 * (texture - texture.min()) / np.ptp(texture))).float()


def batch_of(images, ids=None):
    count = len(images)
    names = tuple(ids or (f"s{number}" for number in range(count)))
    mask = torch.zeros_like(images)
    mask[..., 10:20, 8:24] = 1
    return SliceBatch(images, mask, torch.ones(count, dtype=torch.bool), torch.zeros(count).long(), names, names, names)


@pytest.fixture
def slices():
    return batch_of(torch.stack([head()[None], head().flip(0)[None], 0.5 * head()[None]]))


def test_there_are_eight_at_five_ascending_severities():
    assert len({one.name for one in CORRUPTIONS}) == 8
    for one in CORRUPTIONS:
        assert list(one.parameters) == sorted(set(one.parameters))
        assert len(one.parameters) == len(SEVERITIES)


@EVERY
def test_what_is_lost_grows_with_severity(corruption):
    slices = batch_of(head(128, 128)[None, None].repeat(6, 1, 1, 1))
    lost = [float((corrupt(slices, corruption, s).image - slices.image).square().mean()) for s in SEVERITIES]
    assert lost[0] > 0
    assert lost == sorted(lost)


@EVERY
def test_a_slice_is_corrupted_alike_in_every_batch_and_order(corruption, slices):
    whole = corrupt(slices, corruption, 4)
    order = torch.tensor([2, 0, 1])
    assert torch.allclose(corrupt(slices.take(order), corruption, 4).image, whole.image[order], atol=1e-6)
    alone = corrupt(slices.take(torch.tensor([1])), corruption, 4)
    assert torch.allclose(alone.image, whole.image[1:2], atol=1e-6)


@pytest.mark.parametrize("corruption", [one for one in CORRUPTIONS if one.draw], ids=lambda one: one.name)
def test_chance_hangs_on_slice_and_seed(corruption):
    twice = batch_of(head()[None, None].repeat(12, 1, 1, 1))
    shown = corrupt(twice, corruption, 3).image
    assert any(not torch.equal(shown[0], other) for other in shown[1:])
    assert not torch.equal(corrupt(twice, corruption, 3, seed=1).image, shown)
    assert torch.equal(corrupt(twice, corruption, 3).image, shown)


@EVERY
@pytest.mark.parametrize("size", [(32, 32), (65, 48), (40, 96)])
def test_every_size_stays_within_its_limits_and_empty_slices_stay_finite(corruption, size):
    batch = batch_of(torch.stack([head(*size)[None], torch.zeros(1, *size), torch.ones(1, *size)]))
    for severity in SEVERITIES:
        shown = corrupt(batch, corruption, severity)
        assert shown.image.shape == batch.image.shape
        assert shown.image.min() >= 0
        assert shown.image.max() <= 1
        assert shown.id == batch.id


@EVERY
def test_the_mask_moves_with_the_head_alone(corruption, slices):
    moved = corrupt(slices, corruption, 5).mask
    assert torch.equal(moved, slices.mask) != corruption.moves
    assert set(moved.unique().tolist()) <= {0.0, 1.0}


def test_rotation_turns_image_and_mask_alike():
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 10:20, 8:24] = 1
    batch = replace(batch_of(0.9 * mask), mask=mask)
    rotation = next(one for one in CORRUPTIONS if one.name == "rotation")
    shown = corrupt(batch, rotation, 5)
    assert ((shown.image > 0.45) == (shown.mask > 0.5)).float().mean() > 0.995
    assert abs(float(shown.mask.sum()) / float(mask.sum()) - 1) < 0.1


def test_noise_is_rician():
    image = torch.full((1, 1, 200, 200), 0.3)
    drawn = corruptions_intensity.draw_noise(torch.Generator().manual_seed(0), (200, 200))[None]
    shown = corruptions_intensity.rician_noise(image, 10.0, drawn)
    expected = rice(0.3 / 0.1, scale=0.1)
    assert shown.mean().item() == pytest.approx(expected.mean(), abs=0.002)
    assert shown.std().item() == pytest.approx(expected.std(), rel=0.02)


def test_blur_is_scipys_gaussian():
    image = head()[None, None]
    expected = ndimage.gaussian_filter(image[0, 0].numpy(), 0.02 * 64, mode="nearest", truncate=4.0)
    shown = corruptions_space.gaussian_blur(image, 2.0)[0, 0].numpy()
    assert np.abs(shown - expected).max() < 2e-3


def test_gamma_is_a_power_in_the_direction_drawn():
    image = head()[None, None].repeat(2, 1, 1, 1)
    shown = corruptions_intensity.gamma(image, 2.0, torch.tensor([[1.0], [-1.0]]))
    assert torch.allclose(shown[0], image[0] ** 2)
    assert torch.allclose(shown[1], image[1] ** 0.5)


def test_the_gain_of_a_bias_field_has_the_ratio_asked_for():
    image = torch.full((1, 1, 50, 50), 0.8)
    drawn = corruptions_intensity.draw_bias(torch.Generator().manual_seed(1), (50, 50))[None]
    shown = corruptions_intensity.bias_field(image, 4.0, drawn)
    assert (shown.max() / shown.min()).item() == pytest.approx(4.0, rel=1e-3)
    assert shown.max().item() == pytest.approx(0.8, rel=1e-4)


def test_a_head_that_does_not_move_is_not_changed_by_motion():
    image = head()[None, None]
    still = torch.zeros(1, corruptions_kspace.MOVES + 1, 4)
    assert torch.allclose(corruptions_kspace.motion(image, 5.0, still), image, atol=1e-5)


def test_ghosts_stand_along_the_rows_where_lines_are_weak():
    image = torch.zeros(1, 1, 60, 40)
    image[..., 30, 20] = 1.0
    shown = corruptions_kspace.ghosting(image, 50.0, torch.tensor([[3, 0]]))
    rows, columns = torch.nonzero(shown[0, 0] > 0.1, as_tuple=True)
    assert columns.unique().tolist() == [20]
    assert rows.tolist() == [10, 30, 50]  # copies by a third of the field of view


def test_coarse_pixels_lose_what_is_finer():
    stripes = torch.zeros(1, 1, 64, 64)
    stripes[..., ::2, :] = 1.0
    assert corruptions_space.coarse_pixels(stripes, 100 * 4 / 64)[..., 8:-8, 8:-8].std() < 0.02


@pytest.mark.parametrize(
    ("image", "severity", "words"),
    [
        (torch.zeros(1, 1, 8, 8), 0, "severity is 0"),
        (torch.zeros(1, 1, 8, 8), 6, "severity is 6"),
        (torch.full((1, 1, 8, 8), 2.0), 1, r"allowed is 0\.\.1"),
        (torch.full((1, 1, 8, 8), torch.nan), 1, r"allowed is 0\.\.1"),
        (torch.zeros(1, 3, 8, 8), 1, r"expected \(B, 1, H, W\)"),
    ],
)
def test_wrong_input_is_refused(image, severity, words):
    batch = replace(batch_of(torch.zeros(1, 1, 32, 32)), image=image)
    with pytest.raises(ValueError, match=words):
        corrupt(batch, CORRUPTIONS[0], severity)
