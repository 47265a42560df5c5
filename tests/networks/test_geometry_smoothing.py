"""Gaussian smoothing and derivatives; the reference is ``scipy.ndimage.gaussian_filter``."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from kdmri_monai.networks.geometry.smoothing import gaussian_smooth


def reference(maps, sigma, order=0, truncate=4.0):
    channels = [
        ndimage.gaussian_filter(channel, sigma, order=order, mode="reflect", truncate=truncate)
        for channel in maps.reshape(-1, *maps.shape[2:])
    ]
    return np.stack(channels).reshape(maps.shape)


def random_maps(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.5, 9.0])
@pytest.mark.parametrize("size", [(17, 30), (5, 3), (1, 8), (7, 8, 9)])
def test_smoothing_equals_scipy_even_with_a_kernel_wider_than_the_image(size, sigma):
    maps = random_maps(2, 3, *size)
    got = gaussian_smooth(torch.from_numpy(maps), sigma).numpy()
    np.testing.assert_allclose(got, reference(maps, sigma), atol=1e-12)
    single = gaussian_smooth(torch.from_numpy(maps).float(), sigma).numpy()
    np.testing.assert_allclose(single, reference(maps, sigma), atol=1e-5)


@pytest.mark.parametrize("order", [1, 2, 3, (1, 0), (0, 2), (1, 1)])
def test_derivatives_equal_scipy(order):
    maps = random_maps(1, 2, 20, 23)
    got = gaussian_smooth(torch.from_numpy(maps), 1.5, order=order, truncate=5.0).numpy()
    np.testing.assert_allclose(got, reference(maps, 1.5, order, truncate=5.0), atol=1e-12)


def test_derivatives_equal_scipy_in_3d():
    maps = random_maps(1, 1, 8, 9, 10)
    got = gaussian_smooth(torch.from_numpy(maps), 1.2, order=(1, 0, 2)).numpy()
    np.testing.assert_allclose(got, reference(maps, 1.2, (1, 0, 2)), atol=1e-12)


def test_a_constant_stays_and_a_slope_has_its_derivative():
    column = torch.arange(40, dtype=torch.float64).expand(1, 1, 40, 40)
    torch.testing.assert_close(gaussian_smooth(torch.ones(1, 1, 9, 9), 3.0), torch.ones(1, 1, 9, 9))
    slope = gaussian_smooth(3 * column, 2.0, order=(0, 1))[..., 10:30, 10:30]
    torch.testing.assert_close(slope, torch.full_like(slope, 3.0), rtol=2e-3, atol=0)


def test_channels_and_samples_are_smoothed_alone():
    maps = torch.from_numpy(random_maps(3, 2, 12, 13))
    alone = torch.stack([gaussian_smooth(channel[None, None], 2.0)[0] for channel in maps.flatten(0, 1)])
    torch.testing.assert_close(gaussian_smooth(maps, 2.0), alone.reshape(maps.shape))


def test_gradients_are_right():
    maps = torch.from_numpy(random_maps(1, 2, 5, 6)).requires_grad_()
    assert torch.autograd.gradcheck(lambda m: gaussian_smooth(m, 1.0, order=(0, 1)), maps)


def test_half_precision_and_autocast_are_computed_in_float32():
    maps = torch.from_numpy(random_maps(1, 1, 16, 16)).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = gaussian_smooth(maps, 2.0)
    assert torch.equal(inside, gaussian_smooth(maps, 2.0))
    assert gaussian_smooth(maps.bfloat16(), 2.0).dtype == torch.float32


@pytest.mark.parametrize("arguments", [{"sigma": 0.0}, {"sigma": 1.0, "truncate": -1.0}])
def test_sigma_and_truncate_must_be_positive(arguments):
    with pytest.raises(ValueError, match="must be positive"):
        gaussian_smooth(torch.zeros(1, 1, 4, 4), **arguments)


@pytest.mark.parametrize("order", [-1, (0, 0, 0), (0, -1)])
def test_orders_must_be_one_an_axis(order):
    with pytest.raises(ValueError, match="one an axis"):
        gaussian_smooth(torch.zeros(1, 1, 4, 4), 1.0, order=order)
