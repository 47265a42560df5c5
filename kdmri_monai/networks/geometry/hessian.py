"""Local shape of an image seen as a surface: cup, rut, saddle, ridge or cap, and how strongly bent.

Source: Koenderink and van Doorn, "Surface Shape and Curvature Scales", Image and Vision Computing 1992, equations for
shape index and curvedness.
Differs: as in scikit-image, the eigenvalues of the Hessian stand for the principal curvatures, which holds where the
image is not steep.
"""

import itertools

import torch
from torch import Tensor

from kdmri_monai.networks.geometry.smoothing import gaussian_smooth


def hessian(image: Tensor, sigma: float, gaussian_derivatives: bool = False) -> Tensor:
    """Second derivatives of the smoothed image.

    By default central differences of the Gaussian-smoothed image, taken twice, equal to
    ``skimage.feature.hessian_matrix(channel, sigma, mode="reflect", use_gaussian_derivatives=False)``.

    Args:
        image: Shape ``(B, C, *spatial)``, 2D or 3D, at least two pixels along every axis.
        sigma: Standard deviation of the smoothing, pixels.
        gaussian_derivatives: Convolve with second derivatives of the Gaussian instead: a narrower stencil.

    Returns:
        Upper triangle by rows, stacked in front: ``(n, B, C, *spatial)``. 2D has n = 3 (rr, rc, cc), 3D six. Units are
        intensity per squared pixel.

    Raises:
        ValueError: ``sigma`` is not positive.
    """
    axes = range(2, image.ndim)
    pairs = list(itertools.combinations_with_replacement(axes, 2))
    if gaussian_derivatives:
        orders = [[(axis == a) + (axis == b) for axis in axes] for a, b in pairs]
        return torch.stack([gaussian_smooth(image, sigma, order=order) for order in orders])
    slopes = torch.gradient(gaussian_smooth(image, sigma), dim=list(axes))
    return torch.stack([torch.gradient(slopes[a - 2], dim=b)[0] for a, b in pairs])


def shape_index(image: Tensor, sigma: float, eps: float = 1e-5) -> Tensor:
    """Shape from -1 (cup) over -1/2 (rut), 0 (saddle) and 1/2 (ridge) to 1 (cap).

    ``-(2 / pi) arctan((l1 + l2) / (l1 - l2))`` of the Hessian's eigenvalues ``l1 >= l2``, as
    ``skimage.feature.shape_index(image, sigma, mode="reflect")``, which is NaN on flat images.

    Args:
        image: Shape ``(B, C, H, W)``, intensities of the order of 1.
        sigma: Standard deviation of the smoothing, pixels.
        eps: Added in ``l1 - l2 = sqrt((rr - cc)^2 + 4 rc^2 + eps^2)``: flat places have index 0, and gradients stay
            below ``1 / eps`` times the Hessian's.

    Returns:
        Shape index, shape of the image.

    Raises:
        ValueError: Not 2D, or ``sigma`` or ``eps`` is not positive.
    """
    return shape_index_of(_plane_hessian(image, sigma), eps)


def curvedness(image: Tensor, sigma: float, eps: float = 1e-8) -> Tensor:
    """How strongly bent: ``sqrt((l1^2 + l2^2) / 2 + eps^2) - eps`` of the Hessian's eigenvalues.

    Args:
        image: Shape ``(B, C, H, W)``.
        sigma: Standard deviation of the smoothing, pixels.
        eps: Keeps the gradient finite on flat places, which have curvedness 0.

    Returns:
        Curvedness in intensity per squared pixel, shape of the image.

    Raises:
        ValueError: Not 2D, or ``sigma`` or ``eps`` is not positive.
    """
    return curvedness_of(_plane_hessian(image, sigma), eps)


def shape_index_of(second: Tensor, eps: float = 1e-5) -> Tensor:
    """``shape_index`` where the Hessian ``(3, B, C, H, W)`` is at hand."""
    _check_eps(eps)
    rr, rc, cc = second
    spread = ((rr - cc).square() + 4 * rc.square() + eps**2).sqrt()
    return torch.atan2(-(rr + cc), spread) * (2 / torch.pi)


def curvedness_of(second: Tensor, eps: float = 1e-8) -> Tensor:
    """``curvedness`` where the Hessian ``(3, B, C, H, W)`` is at hand."""
    _check_eps(eps)
    rr, rc, cc = second
    return ((rr.square() + 2 * rc.square() + cc.square()) / 2 + eps**2).sqrt() - eps


def _plane_hessian(image: Tensor, sigma: float) -> Tensor:
    if image.ndim != 4:
        raise ValueError(f"shape index and curvedness are of images (B, C, H, W), got {tuple(image.shape)}")
    return hessian(image, sigma)


def _check_eps(eps: float) -> None:
    if eps <= 0:
        raise ValueError(f"eps is {eps}, it must be positive")
