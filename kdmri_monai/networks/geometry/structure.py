"""Which way an image is striped, and how clearly: the structure tensor.

Source: Bigun and Granlund, "Optimal Orientation Detection of Linear Symmetry", ICCV 1987 (tensor, double angle);
Weickert, "Coherence-Enhancing Diffusion Filtering", IJCV 1999, section 2 (two scales, coherence).
"""

import itertools

import torch
from torch import Tensor

from kdmri_monai.networks.geometry.smoothing import gaussian_smooth
from kdmri_monai.networks.precision import at_least_float32


def structure_tensor(image: Tensor, sigma: float, gradient_sigma: float | None = None) -> Tensor:
    """Products of the image's derivatives, averaged by a Gaussian.

    With ``gradient_sigma=None`` the derivatives are Sobel's and the result equals
    ``skimage.feature.structure_tensor(channel, sigma, mode="reflect", order="rc")``.

    Args:
        image: Shape ``(B, C, *spatial)``, 2D or 3D.
        sigma: Standard deviation of the average (integration scale), pixels.
        gradient_sigma: Standard deviation of Gaussian derivatives (noise scale) in place of Sobel's, pixels.

    Returns:
        Upper triangle by rows, stacked in front: ``(n, B, C, *spatial)``. 2D has n = 3 (rr, rc, cc), 3D six.

    Raises:
        ValueError: A ``sigma`` is not positive.
    """
    return averaged_products(slope_products(image, gradient_sigma), sigma)


def slope_products(image: Tensor, gradient_sigma: float | None = None) -> Tensor:
    """``structure_tensor`` before its average, the same for every integration scale."""
    image = at_least_float32(image)
    if gradient_sigma is None:
        slopes = [_sobel(image, axis) for axis in range(2, image.ndim)]
    else:
        orders = torch.eye(image.ndim - 2, dtype=torch.int64).tolist()
        slopes = [gaussian_smooth(image, gradient_sigma, order=order) for order in orders]
    return torch.stack([a * b for a, b in itertools.combinations_with_replacement(slopes, 2)])


def averaged_products(products: Tensor, sigma: float) -> Tensor:
    """``structure_tensor`` where the products ``(n, B, C, *spatial)`` are at hand."""
    return gaussian_smooth(products.flatten(0, 1), sigma).reshape(products.shape)


def orientation_and_coherence(
    image: Tensor, sigma: float, gradient_sigma: float | None = None, eps: float = 1e-6
) -> tuple[Tensor, Tensor]:
    """Direction across the stripes as a vector of the double angle, and how much one direction prevails.

    With t the angle of the tensor's leading eigenvector, from the columns' axis to the rows' axis:
    ``cos 2t = (cc - rr) / n`` and ``sin 2t = 2 rc / n``, ``n^2 = (cc - rr)^2 + 4 rc^2 + eps^2``; opposite gradients
    have one orientation, and it has no jump. Coherence is ``((l1 - l2) / (l1 + l2 + eps))^2`` of the eigenvalues.

    Args:
        image: Shape ``(B, 1, H, W)``, intensities of the order of 1.
        sigma: Integration scale, pixels.
        gradient_sigma: Noise scale, pixels; None means Sobel's derivatives.
        eps: Squared slope that counts as none: in flat places both results go to zero, with finite gradients.

    Returns:
        Orientation ``(B, 2, H, W)``, of length 1 (0 where there is none), and coherence ``(B, 1, H, W)``, 0 to 1.

    Raises:
        ValueError: Not one channel in 2D, or a ``sigma`` that is not positive.
    """
    if image.ndim != 4 or image.shape[1] != 1:
        raise ValueError(f"orientation is of images (B, 1, H, W), got {tuple(image.shape)}")
    return orientation_and_coherence_of(structure_tensor(image, sigma, gradient_sigma), eps)


def orientation_and_coherence_of(tensor: Tensor, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    """``orientation_and_coherence`` where the structure tensor ``(3, B, 1, H, W)`` is at hand."""
    rr, rc, cc = tensor
    cosine, sine = cc - rr, 2 * rc
    square = cosine.square() + sine.square()
    orientation = torch.cat([cosine, sine], dim=1) / (square + eps**2).sqrt()
    return orientation, square / (rr + cc + eps).square()


def _sobel(image: Tensor, axis: int) -> Tensor:
    """Differences ``(-1, 0, 1)`` along an axis, sums ``(1, 2, 1)`` along the others; the rim is mirrored."""
    for other in range(2, image.ndim):
        before, after = _neighbours(image, other)
        image = after - before if other == axis else before + 2 * image + after
    return image


def _neighbours(image: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    length = image.shape[axis]
    first, last = image.narrow(axis, 0, 1), image.narrow(axis, length - 1, 1)
    before = torch.cat([first, image.narrow(axis, 0, length - 1)], dim=axis)
    return before, torch.cat([image.narrow(axis, 1, length - 1), last], dim=axis)
