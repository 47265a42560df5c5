"""Slices without their tumour, and tumours without their slice: what does a network answer then?

A network that tells the class with the tumour erased has found something else that goes with the class. Constant fills
leave the outline of the hole to be seen, and the outline may tell the class: of the three fills only the inpainted one,
together with a margin (``dilate``), takes the shape away as well. It leaves no texture, so that one can still see that
something was removed.

The background alone is shown with a square of one side in place of every tumour: neither shape nor size of a tumour can
be seen then, only where it was. Its place is a legitimate cue, and so is what a large tumour does to the brain beyond
the square; a class told from such slices is not proof of a shortcut by itself.
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


@torch.no_grad()
def keep_background(images: Tensor, mask: Tensor, side: int, fill: Fill = "mean") -> Tensor:
    """Slices with a square in place of the tumour, as large in every slice.

    The square is centred on the tumour's bounding box and moved into the image where it would leave it, so that it
    always has all of its pixels.

    Args:
        images: Shape ``(B, C, H, W)``, 0 is black.
        mask: Tumour, as for ``erase``; every slice has one.
        side: Rows and columns of the square, pixels.
        fill: ``mean`` of the pixels of the slice that stay, or ``black``.

    Returns:
        Shape and dtype of ``images``, without gradient.

    Raises:
        ValueError: As ``erase``; a slice without tumour, a tumour that the square does not hide, a square as large as
            the image.
    """
    _check(images, mask, fill, 0)
    if fill == "inpaint":
        raise ValueError("a square is not continued from its surroundings: fill must be 'mean' or 'black'")
    largest = tumour_sides(mask)
    for wrong, words in ((largest == 0, "have no tumour"), (largest > side, f"have one wider than {side} pixels")):
        if wrong.any():
            numbers = ", ".join(map(str, wrong.nonzero().flatten().tolist()))
            raise ValueError(f"slices {numbers} of the batch {words}")
    rows, columns = (_covered(mask, axis, side) for axis in (2, 3))
    return _filled(images, (rows[:, :, None] & columns[:, None, :])[:, None], fill)


def tumour_sides(mask: Tensor) -> Tensor:
    """The longer side of every tumour's bounding box, pixels, 0 without tumour, shape ``(B,)``, int64."""
    ends = [_ends(mask, axis) for axis in (2, 3)]
    return torch.stack([last - first + 1 for first, last in ends]).amax(dim=0).clamp_min(0)


def _covered(mask: Tensor, axis: int, side: int) -> Tensor:
    """Rows (axis 2) or columns (axis 3) that the square takes, boolean, shape ``(B, H)`` or ``(B, W)``."""
    size = mask.shape[axis]
    first, last = _ends(mask, axis)
    start = ((first + last + 1 - side) // 2).clamp(min=torch.zeros_like(first), max=torch.full_like(first, size - side))
    place = torch.arange(size, device=mask.device)
    return (place >= start[:, None]) & (place < start[:, None] + side)


def _ends(mask: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """First and last row or column of every tumour; the last before the first by more than one without tumour."""
    taken = (mask > 0.5).any(dim=5 - axis).flatten(start_dim=1)
    place = torch.arange(mask.shape[axis], device=mask.device)
    first = torch.where(taken, place, mask.shape[axis]).amin(dim=1)
    return first, torch.where(taken, place, -1).amax(dim=1)


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
