"""Structure tensor, orientation and coherence; the references are scikit-image and NumPy's eigenvectors."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage import feature

from kdmri_monai.networks.geometry.structure import orientation_and_coherence, structure_tensor


def random_images(*size, batch=2, channels=1, seed=0):
    return np.random.default_rng(seed).random((batch, channels, *size))


def stripes(angle, size=48):
    """A grating whose gradient points ``angle`` from the columns' axis towards the rows' axis."""
    row, column = np.mgrid[:size, :size]
    wave = 0.5 + 0.5 * np.sin(0.7 * (column * np.cos(angle) + row * np.sin(angle)))
    return torch.from_numpy(wave)[None, None]


@pytest.mark.parametrize("sigma", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("size", [(21, 30), (8, 9, 10)])
def test_tensor_equals_scikit_image_with_its_sobel(size, sigma):
    """Within 1e-10 in float64 and 1e-4 in float32, for values up to some tens (3D: hundreds)."""
    images = random_images(*size, channels=2)
    got = structure_tensor(torch.from_numpy(images), sigma).numpy()
    single = structure_tensor(torch.from_numpy(images).float(), sigma).numpy()
    for sample in range(2):
        for channel in range(2):
            expected = feature.structure_tensor(images[sample, channel], sigma, mode="reflect", order="rc")
            np.testing.assert_allclose(got[:, sample, channel], np.stack(expected), atol=1e-10)
            np.testing.assert_allclose(single[:, sample, channel], np.stack(expected), atol=2e-4, rtol=1e-5)


def test_tensor_of_gaussian_derivatives_equals_scipy():
    image = random_images(25, 26, batch=1)[0, 0]
    slopes = [ndimage.gaussian_filter(image, 0.8, order=order) for order in ((1, 0), (0, 1))]
    pairs = ((0, 0), (0, 1), (1, 1))
    expected = np.stack([ndimage.gaussian_filter(slopes[a] * slopes[b], 2.0) for a, b in pairs])
    got = structure_tensor(torch.from_numpy(image)[None, None], 2.0, gradient_sigma=0.8)[:, 0, 0]
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("gradient_sigma", [None, 1.0])
@pytest.mark.parametrize("angle", [0.0, 0.5, np.pi / 2, 2.0, 3.0])
def test_stripes_have_their_orientation_and_full_coherence(angle, gradient_sigma):
    orientation, coherence = orientation_and_coherence(stripes(angle), 3.0, gradient_sigma)
    expected = np.array([np.cos(2 * angle), np.sin(2 * angle)])[:, None]
    assert np.abs(orientation[0, :, 16:32, 16:32].flatten(1).numpy() - expected).max() < 0.02
    assert coherence[0, 0, 16:32, 16:32].min() > 0.99


def test_opposite_gradients_have_one_orientation():
    image = torch.from_numpy(random_images(16, 16))
    torch.testing.assert_close(orientation_and_coherence(image, 2.0), orientation_and_coherence(1 - image, 2.0))


def test_orientation_and_coherence_are_those_of_the_eigenvectors():
    """Within 1e-4, the part of ``eps``."""
    image = random_images(20, 22, batch=1)[0, 0]
    rr, rc, cc = feature.structure_tensor(image, 1.5, mode="reflect")
    values, vectors = np.linalg.eigh(np.stack([np.stack([rr, rc], -1), np.stack([rc, cc], -1)], -2))
    angle = np.arctan2(vectors[..., 0, 1], vectors[..., 1, 1])
    orientation, coherence = orientation_and_coherence(torch.from_numpy(image)[None, None], 1.5)
    expected = ((values[..., 1] - values[..., 0]) / values.sum(axis=-1)) ** 2
    np.testing.assert_allclose(coherence[0, 0].numpy(), expected, atol=1e-4)
    np.testing.assert_allclose(orientation[0, 0].numpy(), np.cos(2 * angle), atol=1e-4)
    np.testing.assert_allclose(orientation[0, 1].numpy(), np.sin(2 * angle), atol=1e-4)


def test_a_flat_image_has_neither_and_finite_gradients():
    image = torch.full((1, 1, 9, 9), 0.3, requires_grad=True)
    orientation, coherence = orientation_and_coherence(image, 1.0)
    assert orientation.abs().max() == 0
    assert coherence.abs().max() == 0
    (orientation.sum() + coherence.sum()).backward()
    assert torch.isfinite(image.grad).all()


def test_images_of_a_batch_are_alone():
    images = torch.from_numpy(random_images(14, 15, batch=3))
    for got, alone in zip(
        orientation_and_coherence(images, 2.0),
        zip(*(orientation_and_coherence(image[None], 2.0) for image in images), strict=True),
        strict=True,
    ):
        torch.testing.assert_close(got, torch.cat(alone))


@pytest.mark.parametrize("gradient_sigma", [None, 0.8])
def test_tensor_orientation_and_coherence_have_right_gradients(gradient_sigma):
    image = torch.from_numpy(random_images(5, 6, batch=1)).requires_grad_()
    assert torch.autograd.gradcheck(lambda i: structure_tensor(i, 1.0, gradient_sigma), image)
    assert torch.autograd.gradcheck(lambda i: orientation_and_coherence(i, 1.0, gradient_sigma), image)


def test_orientation_refuses_volumes_and_colours():
    for shape in ((1, 1, 4, 4, 4), (1, 3, 4, 4)):
        with pytest.raises(ValueError, match="orientation is of images"):
            orientation_and_coherence(torch.zeros(shape), 1.0)
