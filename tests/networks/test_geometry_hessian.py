"""Hessian, shape index and curvedness; the reference is scikit-image."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage import feature

from kdmri_monai.networks.geometry.hessian import curvedness, hessian, shape_index


def random_images(*size, batch=2, channels=1, seed=0):
    return np.random.default_rng(seed).random((batch, channels, *size))


def quadric(along_rows, along_columns, size=31):
    row, column = (np.mgrid[:size, :size] - size // 2) / size
    return torch.from_numpy(along_rows * row**2 + along_columns * column**2)[None, None]


@pytest.mark.parametrize("sigma", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("size", [(21, 30), (8, 9, 10)])
def test_hessian_equals_scikit_image(size, sigma):
    """Within 1e-12 in float64 and 1e-5 in float32."""
    images = random_images(*size, channels=2)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        got = hessian(torch.from_numpy(images).to(dtype), sigma).numpy()
        for sample in range(2):
            expected = feature.hessian_matrix(
                images[sample, 1], sigma, mode="reflect", order="rc", use_gaussian_derivatives=False
            )
            np.testing.assert_allclose(got[:, sample, 1], np.stack(expected), atol=tolerance)


@pytest.mark.parametrize("size", [(21, 30), (8, 9, 10)])
def test_hessian_of_gaussian_derivatives_equals_scipy(size):
    image = random_images(*size, batch=1)[0, 0]
    got = hessian(torch.from_numpy(image)[None, None], 1.5, gaussian_derivatives=True)[:, 0, 0].numpy()
    axes = range(len(size))
    orders = [[(axis == a) + (axis == b) for axis in axes] for a in axes for b in axes if a <= b]
    expected = np.stack([ndimage.gaussian_filter(image, 1.5, order=order) for order in orders])
    np.testing.assert_allclose(got, expected, atol=1e-12)


@pytest.mark.parametrize("sigma", [1.0, 2.0, 4.0])
def test_shape_index_equals_scikit_image(sigma):
    """Where the curvedness is above 1e-3, within 1e-3 in float64 (the part of ``eps``) and 2e-3 in float32."""
    images = random_images(40, 44)
    images += 3 * ndimage.gaussian_filter(images, (0, 0, 5, 5))
    for dtype, tolerance in ((torch.float64, 1e-3), (torch.float32, 2e-3)):
        tensor = torch.from_numpy(images).to(dtype)
        got, bent = shape_index(tensor, sigma).numpy(), curvedness(tensor, sigma).numpy()
        for sample in range(2):
            clear = bent[sample, 0] > 1e-3
            expected = feature.shape_index(images[sample, 0], sigma, mode="reflect")
            assert clear.mean() > 0.3
            np.testing.assert_allclose(got[sample, 0][clear], expected[clear], atol=tolerance)


@pytest.mark.parametrize(
    ("rows", "columns", "index"), [(1, 1, -1), (0, 1, -0.5), (1, -1, 0), (0, -1, 0.5), (-1, -1, 1), (-1, 0, 0.5)]
)
def test_quadrics_have_their_names(rows, columns, index):
    """Cup, rut, saddle, ridge, cap of Koenderink and van Doorn."""
    assert shape_index(quadric(rows, columns), 1.0)[0, 0, 15, 15].item() == pytest.approx(index, abs=5e-3)


def test_curvedness_is_the_root_mean_square_of_the_eigenvalues():
    image = random_images(24, 25, batch=1)[0, 0]
    second = feature.hessian_matrix(image, 1.5, mode="reflect", use_gaussian_derivatives=False)
    expected = np.sqrt((feature.hessian_matrix_eigvals(second) ** 2).mean(axis=0))
    got = curvedness(torch.from_numpy(image)[None, None], 1.5)[0, 0].numpy()
    np.testing.assert_allclose(got, expected, atol=2e-8)


def test_turning_an_image_over_turns_the_shape_over():
    image = torch.from_numpy(random_images(16, 16))
    torch.testing.assert_close(shape_index(-image, 1.0), -shape_index(image, 1.0))
    torch.testing.assert_close(curvedness(-image, 1.0), curvedness(image, 1.0))


@pytest.mark.parametrize("function", [shape_index, curvedness])
def test_flat_images_give_zero_and_finite_gradients(function):
    image = torch.zeros(1, 1, 9, 9, requires_grad=True)
    values = function(image, 1.0)
    assert values.abs().max() == 0
    values.sum().backward()
    assert torch.isfinite(image.grad).all()


@pytest.mark.parametrize("function", [hessian, shape_index, curvedness])
def test_gradients_are_right(function):
    image = torch.from_numpy(random_images(5, 6, batch=1)).requires_grad_()
    assert torch.autograd.gradcheck(lambda i: function(i, 1.0), image)


@pytest.mark.parametrize("function", [shape_index, curvedness])
def test_images_of_a_batch_are_alone_and_volumes_are_refused(function):
    images = torch.from_numpy(random_images(12, 13, batch=3))
    torch.testing.assert_close(function(images, 2.0), torch.cat([function(image[None], 2.0) for image in images]))
    with pytest.raises(ValueError, match="shape index and curvedness are of images"):
        function(torch.zeros(1, 1, 4, 4, 4), 1.0)
    with pytest.raises(ValueError, match="eps is 0"):
        function(images, 2.0, eps=0)
