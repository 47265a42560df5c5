"""Quality of predicted masks against NumPy, and that a map which is transposed is caught."""

import numpy as np
import pytest
import torch

from kdmri_monai.evaluation.predicted_maps import map_quality


def blob(row, column, height, width, size=24):
    mask = np.zeros((1, 1, size, size), np.float32)
    mask[0, 0, row : row + height, column : column + width] = 1
    return mask


def dice(a, b):
    return 2 * (a * b).sum() / (a.sum() + b.sum())


def test_dice_and_peak_equal_numpy():
    rng = np.random.default_rng(0)
    mask = np.concatenate([blob(4, 12, 6, 9), blob(10, 3, 8, 5)])
    predicted = (0.6 * mask + 0.5 * rng.random(mask.shape)).astype(np.float32)
    found, hit = map_quality(torch.from_numpy(predicted), torch.from_numpy(mask))
    np.testing.assert_allclose(
        found.numpy(), [dice(p >= 0.5, m) for p, m in zip(predicted, mask, strict=True)], rtol=1e-6
    )
    peaks = [np.unravel_index(p.argmax(), p.shape) for p in predicted]
    assert hit.tolist() == [m[peak] for m, peak in zip(mask, peaks, strict=True)]


def test_a_transposed_map_is_caught():
    mask = torch.from_numpy(blob(2, 14, 5, 8))
    right, wrong = map_quality(mask, mask), map_quality(mask.transpose(2, 3), mask)
    assert (right[0].item(), right[1].item()) == (1.0, 1.0)
    assert (wrong[0].item(), wrong[1].item()) == (0.0, 0.0)


def test_a_coarse_map_is_enlarged():
    fine = torch.from_numpy(blob(8, 4, 8, 12))
    coarse = torch.nn.functional.interpolate(fine, scale_factor=0.25, mode="area")
    found, hit = map_quality(coarse, fine)
    assert found.item() > 0.85
    assert hit.item() == 1


def test_batches_must_agree():
    with pytest.raises(ValueError, match="2 predicted masks for 1 masks"):
        map_quality(torch.zeros(2, 1, 4, 4), torch.zeros(1, 1, 8, 8))
