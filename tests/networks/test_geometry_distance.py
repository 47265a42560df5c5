"""Signed distance and mask from a border; the reference is SciPy's distance transform."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from kdmri_monai.networks.geometry.border import mask_from_border
from kdmri_monai.networks.geometry.distance import signed_distance


def reference_distance(mask, limit):
    """Half-way between the pixels of the two kinds; ``mask`` holds both."""
    inside, outside = ndimage.distance_transform_edt(mask), ndimage.distance_transform_edt(~mask)
    distance = np.where(mask, inside - 0.5, 0.5 - outside)
    return distance if limit is None else distance.clip(-limit, limit)


def random_masks(size, density, count=4, seed=0):
    masks = np.random.default_rng(seed).random((count, 1, *size)) < density
    masks[..., :1][(slice(None), 0, *[0] * (len(size) - 1))] = True
    masks[(slice(None), 0, *[-1] * len(size))] = False
    return masks


@pytest.mark.parametrize("limit", [None, 0.5, 3.0, 12.3, 500.0])
@pytest.mark.parametrize("density", [0.002, 0.5, 0.98])
@pytest.mark.parametrize("size", [(37, 53), (64, 64), (1, 9), (9, 1), (150, 4), (9, 11, 14), (1, 5, 6)])
def test_distance_equals_scipy_within_a_ten_thousandth(size, density, limit):
    masks = random_masks(size, density)
    got = signed_distance(torch.from_numpy(masks), limit).numpy()
    for sample, mask in zip(got, masks, strict=True):
        np.testing.assert_allclose(sample[0], reference_distance(mask[0], limit), atol=1e-4)


def test_a_wide_image_needs_more_than_sixteen_bits_and_stays_exact():
    mask = torch.zeros(1, 1, 3, 700, dtype=torch.bool)
    mask[..., 0, 0] = True
    expected = reference_distance(mask[0, 0].numpy(), None)
    np.testing.assert_allclose(signed_distance(mask)[0, 0].numpy(), expected, atol=1e-4)


def test_samples_of_a_batch_do_not_see_each_other():
    masks = torch.from_numpy(random_masks((20, 24), 0.03, count=5))
    masks[1], masks[3] = False, True
    batch = signed_distance(masks, 8.0)
    assert torch.equal(batch, torch.cat([signed_distance(mask[None], 8.0) for mask in masks]))


@pytest.mark.parametrize("size", [(6, 8), (3, 4, 12)])
def test_without_border_the_distance_is_the_limit_or_the_diagonal(size):
    diagonal = np.sqrt(np.square(size).sum())
    empty, full = torch.zeros(1, 1, *size), torch.ones(1, 1, *size)
    for limit, expected in ((None, diagonal), (5.0, 5.0), (300.0, 300.0)):
        np.testing.assert_allclose(signed_distance(empty, limit), np.full((1, 1, *size), -expected), rtol=1e-6)
        np.testing.assert_allclose(signed_distance(full, limit), np.full((1, 1, *size), expected), rtol=1e-6)


def test_one_pixel_is_half_a_pixel_deep_and_the_image_border_is_no_border():
    mask = torch.zeros(1, 1, 5, 7)
    mask[..., 2, 3] = 1
    distance = signed_distance(mask)[0, 0]
    assert distance[2, 3] == 0.5
    assert distance[2, 4] == -0.5
    touching = torch.zeros(1, 1, 5, 7)
    touching[..., :3] = 1  # the left half: the deepest pixels lie at the image's edge
    assert signed_distance(touching)[0, 0, 2].tolist() == [2.5, 1.5, 0.5, -0.5, -1.5, -2.5, -3.5]


def test_floats_are_cut_at_one_half_and_keep_their_precision():
    mask = torch.tensor([0.0, 0.4, 0.6, 1.0]).reshape(1, 1, 1, 4)
    assert signed_distance(mask).flatten().tolist() == [-1.5, -0.5, 0.5, 1.5]
    assert signed_distance(mask.double()).dtype == torch.float64
    assert signed_distance(mask.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("shape", [(4, 4), (2, 2, 4, 4), (1, 4, 4)])
def test_a_mask_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"must be \(B, 1, H, W\)"):
        signed_distance(torch.zeros(shape))


def test_a_limit_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="limit is 0"):
        signed_distance(torch.zeros(1, 1, 4, 4), 0)


def test_a_border_is_filled_with_x_across_and_y_down():
    mask = mask_from_border([(1, 2), (6, 2), (6, 4), (1, 4)], (8, 10))
    expected = torch.zeros(1, 8, 10, dtype=torch.bool)
    expected[:, 2:5, 1:7] = True
    assert torch.equal(mask, expected)


def test_a_border_that_leaves_the_image_is_cut_off():
    mask = mask_from_border(torch.tensor([[-5.0, -5.0], [3.0, -5.0], [3.0, 2.0], [-5.0, 2.0]]), (4, 6))
    assert mask[0, :3, :4].all()
    assert mask.sum() == 12


@pytest.mark.parametrize("points", [[(0, 0), (1, 1)], [(0, 0, 0)] * 3, [(0, 0), (1, 1), (2, float("nan"))]])
def test_a_border_of_too_few_or_broken_points_is_refused(points):
    with pytest.raises(ValueError, match="at least three finite points"):
        mask_from_border(points, (4, 4))


def test_a_border_needs_a_flat_image():
    with pytest.raises(ValueError, match="height and width"):
        mask_from_border([(0, 0), (1, 1), (2, 0)], (4, 4, 4))
