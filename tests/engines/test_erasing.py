"""Erased tumours: gone from the image, from the mask's flag and from the target; nothing else changes."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from kdmri_monai.engines.erasing import TumourErasing, fill_in
from kdmri_monai.networks.inpainting import inpaint


@pytest.fixture
def batch():
    """Forty dim noisy heads with a bright tumour each; every fifth has no mask."""
    torch.manual_seed(0)
    image = 0.3 + 0.02 * torch.randn(40, 1, 48, 48)
    mask = torch.zeros_like(image)
    for place in range(40):
        row, column = 8 + place % 20, 30 - place % 17
        mask[place, :, row : row + 9, column : column + 12] = 1.0
    image += 0.6 * mask
    has_mask = torch.arange(40) % 5 > 0
    return {
        "image": image,
        "mask": mask * has_mask[:, None, None, None],
        "has_mask": has_mask,
        "label": torch.arange(40) % 3,
    }


def dilated(mask, pixels=2):
    """SciPy's, per slice, with a square of 2 * pixels + 1."""
    square = np.ones((2 * pixels + 1,) * 2, bool)
    return np.stack([ndimage.binary_dilation(slice_[0].numpy() > 0.5, square) for slice_ in mask])[:, None]


@pytest.mark.parametrize("fill", ["inpaint", "mean", "black"])
def test_the_tumour_is_gone_and_the_rest_is_as_it_was(batch, fill):
    before, had = batch["image"].clone(), batch["has_mask"].clone()
    image, target = TumourErasing(3, fraction=1.0, fill=fill)(batch, batch["label"])
    region = torch.from_numpy(dilated(batch["mask"]))
    assert torch.equal(batch["erased"], had)
    assert not batch["has_mask"].any()
    assert torch.equal(image[~region], before[~region])
    level = {"inpaint": 0.3, "mean": 0.3, "black": 0.0}[fill]
    assert (image[region] - level).abs().max() < 0.1
    torch.testing.assert_close(target[had], torch.full((32, 3), 1 / 3))
    assert torch.equal(target[~had], torch.eye(3)[batch["label"][~had]])
    assert torch.equal(image[~had], before[~had])


def test_inpainted_tumours_continue_their_surroundings(batch):
    before = batch["image"].clone()
    image, _ = TumourErasing(3, fraction=1.0)(batch, batch["label"])
    exact = inpaint(before.double(), torch.from_numpy(dilated(batch["mask"])), 200)
    assert (image - exact).abs().max() < 0.01


def test_the_mean_is_that_of_the_rim(batch):
    image, mask = batch["image"][1:2] + torch.linspace(0, 1, 48), batch["mask"][1:2]
    region = dilated(mask)
    rim = dilated(torch.from_numpy(region), 4) & ~region
    got = fill_in(image, torch.from_numpy(region), "mean")
    np.testing.assert_allclose(got.numpy()[region], image.numpy()[rim].mean(), rtol=1e-5)


def test_about_the_fraction_of_the_slices_with_a_mask_is_erased_and_the_seed_decides(batch):
    erasing, counts, patterns = TumourErasing(3, fraction=0.3, fill="black"), 0, []
    for seed in [*range(50), 0]:
        torch.manual_seed(seed)
        given = dict(batch)
        image, target = erasing(given, batch["label"])
        changed = (image != batch["image"]).flatten(1).any(dim=1)
        assert torch.equal(changed, given["erased"])
        assert torch.equal(given["has_mask"], batch["has_mask"] & ~changed)
        assert torch.equal(target.amax(dim=1) < 0.5, changed)
        counts += int(changed.sum())
        patterns.append(changed)
    assert abs(counts / (51 * 32) - 0.3) < 0.04  # 3.5 standard errors
    assert torch.equal(patterns[0], patterns[-1])
    assert not torch.equal(patterns[0], patterns[1])


def test_a_tumour_without_surroundings_is_left(batch):
    batch["mask"][1] = 1.0
    before = batch["image"].clone()
    image, target = TumourErasing(3, fraction=1.0)(batch, batch["label"])
    assert not batch["erased"][1]
    assert batch["has_mask"][1]
    assert torch.equal(image[1], before[1])
    assert target[1].tolist() == [0.0, 1.0, 0.0]


def test_fraction_zero_changes_nothing(batch):
    before, had = batch["image"].clone(), batch["has_mask"].clone()
    image, target = TumourErasing(3, fraction=0.0)(batch, batch["label"])
    assert torch.equal(image, before)
    assert torch.equal(batch["has_mask"], had)
    assert not batch["erased"].any()
    assert torch.equal(target, torch.eye(3)[batch["label"]])


def test_impossible_arguments_and_batches_without_masks_are_refused(batch):
    with pytest.raises(ValueError, match="fraction is -1, allowed are 0 to 1"):
        TumourErasing(3, fraction=-1)
    with pytest.raises(ValueError, match="fill is 'white', allowed are inpaint, mean, black"):
        TumourErasing(3, fill="white")
    with pytest.raises(ValueError, match="dilation is -1, allowed are 0 and more"):
        TumourErasing(3, dilation=-1)
    del batch["has_mask"]
    with pytest.raises(KeyError, match="has_mask"):
        TumourErasing(3)(batch, batch["label"])
