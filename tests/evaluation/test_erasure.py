"""Erasing and keeping. Reference: NumPy and SciPy, written from the description."""

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation

from kdmri_monai.evaluation.erasure import erase, keep_background, keep_tumour, tumour_sides


def reference_erased(image, hole, fill):
    erased = image.copy()
    erased[hole] = {"mean": image[~hole].mean(), "black": 0.0}[fill]
    return erased


@pytest.fixture
def slices():
    """Three slices on a slope of grey, with an oblong tumour, one that touches the edge, and none."""
    rng = np.random.default_rng(0)
    slope = np.linspace(0.2, 0.8, 24)[None, :] * np.ones((20, 1))
    images = slope + 0.01 * rng.random((3, 1, 20, 24))
    mask = np.zeros((3, 1, 20, 24))
    mask[0, 0, 6:10, 5:14] = 1
    mask[1, 0, 15:20, 20:24] = 1
    images[mask > 0] = 1.5
    return images, mask


def as_tensors(slices, dtype=torch.float32):
    return (torch.from_numpy(array).to(dtype) for array in slices)


@pytest.mark.parametrize("fill", ["mean", "black"])
@pytest.mark.parametrize("margin", [0, 1, 3])
def test_constant_fills_replace_the_tumour_and_its_margin(slices, fill, margin):
    images, mask = as_tensors(slices)
    erased = erase(images, mask, fill, margin).numpy()
    for image, inside, found in zip(*slices, erased, strict=True):
        hole = inside[0] > 0
        if margin:
            hole = binary_dilation(hole, np.ones((2 * margin + 1,) * 2))
        np.testing.assert_allclose(found[0], reference_erased(image[0], hole, fill), rtol=1e-6)


def test_the_inpainted_tumour_continues_the_slope_around_it(slices):
    images, mask = as_tensors(slices)
    erased = erase(images, mask, "inpaint", 1)
    slope = torch.linspace(0.2, 0.8, 24)
    gap = (erased - slope).abs()[mask > 0]
    assert gap[: 4 * 9].max() < 0.02  # at the edge of the image only one side is known
    assert erased.max() < 0.83


@pytest.mark.parametrize("fill", ["mean", "black", "inpaint"])
def test_what_is_not_erased_stays_to_the_last_bit(slices, fill):
    images, mask = as_tensors(slices)
    erased = erase(images, mask, fill, 2)
    outside = torch.from_numpy(~binary_dilation(slices[1] > 0, np.ones((1, 1, 5, 5))))
    assert torch.equal(erased[outside], images[outside])
    assert torch.equal(erased[2], images[2])
    assert not (erased[:2] == 1.5).any()


@pytest.mark.parametrize("fill", ["mean", "black", "inpaint"])
def test_nothing_of_the_tumour_has_any_influence(slices, fill):
    images, mask = as_tensors(slices)
    other = torch.where(mask > 0, -7.0, images)
    assert torch.equal(erase(images, mask, fill), erase(other, mask, fill))


def test_keeping_is_the_complement_of_erasing(slices):
    images, mask = (array[:2] for array in as_tensors(slices))
    kept = keep_tumour(images, mask)
    assert torch.equal(kept + erase(images, mask, "black", 0), images)
    level = keep_tumour(images, mask, "mean")
    assert torch.allclose(level, torch.tensor(1.5))
    assert (keep_tumour(images, mask, dilate=2) > 0).sum() > (kept > 0).sum()


def test_the_square_is_as_large_in_every_slice_and_hides_the_tumour_wherever_it_is(slices):
    images, mask = (array[:2] for array in as_tensors(slices))
    for side in (9, 10, 13):
        shown = keep_background(images, mask, side, "black")
        hidden = (shown != images).numpy()
        for square, inside in zip(hidden[:, 0], slices[1][:2, 0] > 0, strict=True):
            rows, columns = (np.flatnonzero(square.any(axis=axis)) for axis in (1, 0))
            assert square.sum() == side**2
            assert (len(rows), len(columns)) == (np.ptp(rows) + 1, np.ptp(columns) + 1) == (side, side)
            assert square[inside].all()


def test_the_square_lies_round_the_middle_of_the_tumour(slices):
    images, mask = (array[:1] for array in as_tensors(slices))
    rows, columns = (np.flatnonzero((keep_background(images, mask, 11, "black") != images).numpy()[0, 0].any(axis=axis))
                     for axis in (1, 0))  # fmt: skip
    assert rows.mean() == pytest.approx(np.arange(6, 10).mean(), abs=0.5)
    assert columns.mean() == pytest.approx(np.arange(5, 14).mean(), abs=0.5)


def test_the_square_has_the_mean_of_what_stays_and_nothing_of_the_tumour(slices):
    images, mask = (array[:2] for array in as_tensors(slices))
    shown = keep_background(images, mask, 9)
    for image, found in zip(slices[0][:2, 0], shown.numpy()[:, 0], strict=True):
        hole = ~np.isclose(found, image, rtol=0, atol=1e-7)
        np.testing.assert_allclose(found, reference_erased(image, hole, "mean"), rtol=1e-6)
    assert torch.equal(shown, keep_background(torch.where(mask > 0, -7.0, images), mask, 9))


def test_the_side_of_a_tumour_is_the_longer_one_of_its_box(slices):
    _, mask = as_tensors(slices)
    assert tumour_sides(mask).tolist() == [9, 5, 0]
    assert tumour_sides(mask > 0.5).tolist() == [9, 5, 0]


def test_dtype_stays_and_no_gradient_is_kept(slices):
    for dtype in (torch.float64, torch.bfloat16):
        images, mask = as_tensors(slices, dtype)
        for fill in ("mean", "black", "inpaint"):
            erased = erase(images.requires_grad_(), mask > 0.5, fill)
            assert erased.dtype == dtype
            assert not erased.requires_grad


def test_wrong_input_is_refused(slices):
    images, mask = as_tensors(slices)
    with pytest.raises(ValueError, match=r"mask \(3, 20, 24\), expected \(B, C, H, W\) and \(B, 1, H, W\)"):
        erase(images, mask[:, 0], "mean")
    with pytest.raises(ValueError, match="fill is 'grey', allowed are mean, black, inpaint"):
        erase(images, mask, "grey")
    with pytest.raises(ValueError, match="dilate is -1 pixels"):
        erase(images, mask, "mean", -1)
    with pytest.raises(ValueError, match="nothing stays of slices 0, 1, 2 of the batch"):
        erase(images, torch.ones_like(mask), "mean")
    with pytest.raises(ValueError, match="nothing stays of slices 2 of the batch"):
        keep_tumour(images, mask)
    with pytest.raises(ValueError, match="not continued beyond its border"):
        keep_tumour(images, mask, "inpaint")
    with pytest.raises(ValueError, match="slices 2 of the batch have no tumour"):
        keep_background(images, mask, 9)
    with pytest.raises(ValueError, match="slices 0 of the batch have one wider than 8 pixels"):
        keep_background(images[:2], mask[:2], 8)
    with pytest.raises(ValueError, match="nothing stays of slices 0, 1"):
        keep_background(images[:2], mask[:2], 24)
    with pytest.raises(ValueError, match="a square is not continued"):
        keep_background(images[:2], mask[:2], 9, "inpaint")
