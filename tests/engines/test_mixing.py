"""Mixup: convex combinations with the shares of a Beta distribution, the main part first."""

import numpy as np
import pytest
import torch
from scipy import stats

from kdmri_monai.engines.mixing import MixUp


def batch_of(size, classes=3, **more):
    """Image i is nothing but the value 1 in pixel i, so every mixture tells its parts and their shares."""
    image = torch.eye(size).reshape(size, 1, 1, size)
    return {"image": image, "label": torch.arange(size) % classes, **more}


def test_image_and_target_are_the_same_convex_combination():
    torch.manual_seed(0)
    batch = batch_of(64)
    labels = np.arange(64) % 3
    image, target = MixUp(3, alpha=1.0)(batch, batch["label"])
    shares = image.reshape(64, 64).numpy()
    assert (np.count_nonzero(shares, axis=1) <= 2).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(target.numpy(), shares @ np.eye(3)[labels], atol=1e-6)
    assert (np.diag(shares) >= 0.5).all()
    assert len(np.unique(np.diag(shares).round(4))) > 32, "one share for every sample, not one for the batch"
    assert (np.count_nonzero(shares, axis=0) <= 2).all(), "every sample is the lesser part of one other at most"


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_follow_the_beta_distribution(alpha):
    torch.manual_seed(1)
    size = 2000
    batch = batch_of(size)
    image, _ = MixUp(3, alpha)(batch, batch["label"])
    own = image.reshape(size, size).diagonal().double().numpy()
    drawn = stats.beta(alpha, alpha)

    def larger(share):  # of x and 1 - x: P(max <= s) = F(s) - F(1 - s)
        return drawn.cdf(share) - drawn.cdf(1 - share)

    whole = 1 - larger(255 / 256)  # too faint a mixture is none
    assert (own == 1).mean() == pytest.approx(whole, abs=3.5 * np.sqrt(whole * (1 - whole) / size) + 1 / size)
    assert stats.kstest(own[own < 1], lambda share: larger(share) / larger(255 / 256)).pvalue > 0.01


def test_the_hard_label_stays_that_of_the_main_part():
    torch.manual_seed(2)
    batch = batch_of(60)
    _, target = MixUp(3, alpha=1.0)(batch, batch["label"])
    assert torch.equal(batch["label"], torch.arange(60) % 3)
    assert torch.equal(target.argmax(dim=1), batch["label"])


@pytest.mark.parametrize("mask_share", [0.75, 0.9, 1.0])
def test_a_sample_keeps_its_mask_where_its_own_share_is_large_enough(mask_share):
    torch.manual_seed(3)
    has_mask = torch.rand(200) < 0.7
    batch = batch_of(200, has_mask=has_mask.clone())
    image, target = MixUp(3, alpha=1.0, probability=0.4, mask_share=mask_share)(batch, batch["label"])
    own = image.reshape(200, 200).diagonal()
    assert 0.3 < (own < 1).float().mean() < 0.5
    assert has_mask[own < mask_share].any()
    assert torch.equal(batch["has_mask"], has_mask & (own >= mask_share))
    assert torch.equal(target[own == 1], torch.eye(3)[batch["label"][own == 1]])


def test_three_of_four_keep_their_masks_at_alpha_04():
    torch.manual_seed(3)
    batch = batch_of(2000, has_mask=torch.ones(2000, dtype=torch.bool))
    MixUp(3, alpha=0.4)(batch, batch["label"])
    kept = 1 - (stats.beta(0.4, 0.4).cdf(0.75) - stats.beta(0.4, 0.4).cdf(0.25))
    assert 0.7 < kept < 0.8
    assert batch["has_mask"].float().mean().item() == pytest.approx(kept, abs=3.5 * np.sqrt(kept * (1 - kept) / 2000))


def test_probability_zero_leaves_the_batch_as_it_was():
    batch = batch_of(12)
    image, target = MixUp(3, probability=0.0)(batch, batch["label"])
    assert torch.equal(image, batch["image"])
    assert torch.equal(target, torch.eye(3)[batch["label"]])


def test_soft_targets_are_mixed_as_they_are():
    torch.manual_seed(4)
    batch = batch_of(40)
    flat = torch.full((40, 3), 1 / 3)
    _, target = MixUp(3)(batch, flat)
    torch.testing.assert_close(target, flat)


def test_torchs_seed_decides_about_everything():
    results = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        results.append(MixUp(3, probability=0.5)(batch_of(16), torch.arange(16) % 3)[0])
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_volumes_and_half_precision_keep_shape_and_type():
    image = torch.randn(4, 2, 3, 5, 6).bfloat16()
    mixed, target = MixUp(3)({"image": image}, torch.tensor([0, 1, 2, 0]))
    assert (mixed.shape, mixed.dtype) == (image.shape, torch.bfloat16)
    assert target.dtype == torch.float32


def test_impossible_arguments_are_refused():
    with pytest.raises(ValueError, match="alpha is 0, it must be above 0"):
        MixUp(3, alpha=0)
    with pytest.raises(ValueError, match=r"probability is 1.5, allowed are 0 to 1"):
        MixUp(3, probability=1.5)
    for share in (0.5, 1.1):
        with pytest.raises(ValueError, match=rf"mask_share is {share}, it must be above 0.5 and at most 1"):
            MixUp(3, mask_share=share)
