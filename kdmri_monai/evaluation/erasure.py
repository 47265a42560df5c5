"""Slices without their tumour, and tumours without their slice: what does a network answer then?

A network that tells the class with the tumour erased has found something else that goes with the class. Constant fills
leave the outline of the hole to be seen, and the outline may tell the class: of the three fills only the inpainted one,
together with a margin (``dilate``), takes the shape away as well. It leaves no texture, so that one can still see that
something was removed.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

from kdmri_monai.networks.inpainting import dilate as grown
from kdmri_monai.networks.inpainting import inpaint

Fill = Literal["mean", "black", "inpaint"]
MARGIN = 2
"""Pixels beyond the mask that go with the tumour: blurred borders, and a mask drawn tightly."""


@torch.no_grad()
def erase(images: Tensor, mask: Tensor, fill: Fill, dilate: int = MARGIN) -> Tensor:
    """Slices with the tumour erased; what lies outside stays as it is to the last bit.

    Args:
        images: Shape ``(B, C, H, W)``, 0 is black.
        mask: Tumour, boolean, or numbers of which those above 0.5 are meant, shape ``(B, 1, H, W)``. A slice without
            tumour is returned as it is.
        fill: ``mean`` of the pixels of the slice that stay, ``black``, or ``inpaint``, which continues them.
        dilate: Pixels by which the tumour is taken to be larger than its mask.

    Returns:
        Shape and dtype of ``images``, without gradient.

    Raises:
        ValueError: Shapes do not fit, an unknown fill, a negative margin, a slice of which nothing stays.
    """
    _check(images, mask, fill, dilate)
    return _filled(images, grown(mask, dilate), fill)


@torch.no_grad()
def keep_tumour(images: Tensor, mask: Tensor, fill: Fill = "black", dilate: int = 0) -> Tensor:
    """Slices with everything but the tumour erased.

    Args:
        images: Shape ``(B, C, H, W)``, 0 is black.
        mask: Tumour, as for ``erase``.
        fill: ``mean`` of the tumour's pixels, or ``black``.
        dilate: Pixels by which the tumour is taken to be larger than its mask.

    Returns:
        Shape and dtype of ``images``, without gradient.

    Raises:
        ValueError: As ``erase``; a slice without tumour leaves nothing.
    """
    _check(images, mask, fill, dilate)
    if fill == "inpaint":
        raise ValueError("a tumour is not continued beyond its border: fill must be 'mean' or 'black'")
    return _filled(images, ~grown(mask, dilate), fill)


def _check(images: Tensor, mask: Tensor, fill: str, dilate: int) -> None:
    if images.ndim != 4 or mask.shape != (images.shape[0], 1, *images.shape[2:]):
        raise ValueError(
            f"images are {tuple(images.shape)} and mask {tuple(mask.shape)}, expected (B, C, H, W) and (B, 1, H, W)"
        )
    if fill not in get_args(Fill):
        raise ValueError(f"fill is {fill!r}, allowed are {', '.join(get_args(Fill))}")
    if dilate < 0:
        raise ValueError(f"dilate is {dilate} pixels, it must not be negative")


def _filled(images: Tensor, hole: Tensor, fill: str) -> Tensor:
    empty = hole.flatten(start_dim=1).all(dim=1).nonzero().flatten().tolist()
    if empty:
        raise ValueError(f"nothing stays of slices {', '.join(map(str, empty))} of the batch")
    if fill == "inpaint":
        return inpaint(images, hole)
    value = images.new_zeros(())
    if fill == "mean":
        stays = (~hole).double()
        value = (images.double() * stays).sum((2, 3), keepdim=True) / stays.sum((2, 3), keepdim=True)
    return torch.where(hole, value.to(images.dtype), images)
