"""Slices without their tumour, which no class explains: they teach a network to look at the tumour."""

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from kdmri_monai.engines.mixing import as_distributions
from kdmri_monai.networks.inpainting import dilate, inpaint

Fill = Literal["inpaint", "mean", "black"]

RIM = 4
ITERATIONS = 20


class TumourErasing:
    """Removes the tumour from a part of the slices that have a mask; their target becomes 1 / K for every class.

    A network that reads the class off the scanner, the plane or the patient still answers with confidence when the
    tumour is gone. Here it is told not to. On the slices of this project's first trials that moved the answer to the
    tumour at the price of accuracy; it is an option, not a default.

    Erased slices have ``has_mask`` False and ``erased`` True in the batch. A teacher that was not trained this way is
    as sure of them as ever: a term that follows the teacher pulls against the flat target unless it leaves them out.

    Args:
        num_classes: Classes ``K``.
        fraction: Probability that a slice with a mask is erased.
        fill: What comes in place of the tumour: ``inpaint`` continues the surroundings smoothly (``inpaint`` of
            ``kdmri_monai.networks.inpainting``), ``mean`` is the mean of a rim of 4 pixels around it, ``black`` is 0.
        dilation: Pixels by which the mask is grown first, so that no border is left that tells the shape.

    Raises:
        ValueError: ``fraction`` is no probability; an unknown fill; a negative dilation.
    """

    def __init__(self, num_classes: int, fraction: float = 0.3, fill: Fill = "inpaint", dilation: int = 2) -> None:
        if not 0 <= fraction <= 1:
            raise ValueError(f"fraction is {fraction}, allowed are 0 to 1")
        if fill not in get_args(Fill):
            raise ValueError(f"fill is {fill!r}, allowed are {', '.join(get_args(Fill))}")
        if dilation < 0:
            raise ValueError(f"dilation is {dilation}, allowed are 0 and more pixels")
        self.num_classes = num_classes
        self.fraction = fraction
        self.fill = fill
        self.dilation = dilation

    def __call__(self, batchdata: dict[str, Any], target: Tensor) -> tuple[Tensor, Tensor]:
        """Images and soft targets of the batch; its ``has_mask`` and ``erased`` follow.

        Which slices are erased is drawn from torch's global generator of the CPU. A slice whose grown mask leaves
        nothing around it stays as it is.

        Args:
            batchdata: Has ``image`` ``(B, C, H, W)``, ``mask`` ``(B, 1, H, W)`` and ``has_mask`` ``(B,)``.
            target: Classes ``(B,)`` or distributions over them ``(B, K)``.

        Returns:
            Images of the shape of ``image``, and soft targets ``(B, K)``.

        Raises:
            KeyError: The batch has no masks.
        """
        image, has_mask = batchdata["image"], batchdata["has_mask"]
        region = dilate(batchdata["mask"], self.dilation)
        drawn = (torch.rand(len(image)) < self.fraction).to(image.device)
        erased = drawn & has_mask & ~region.flatten(start_dim=1).all(dim=1)
        batchdata["has_mask"], batchdata["erased"] = has_mask & ~erased, erased
        places = erased.nonzero().flatten()
        if len(places):
            image = image.index_copy(0, places, fill_in(image[places], region[places], self.fill))
        soft = as_distributions(target, self.num_classes)
        return image, torch.where(erased[:, None], 1 / self.num_classes, soft)


def fill_in(images: Tensor, region: Tensor, fill: Fill) -> Tensor:
    """Images with another content in a region.

    Args:
        images: Shape ``(B, C, H, W)``.
        region: Boolean, shape ``(B, 1, H, W)``; leaves something of every image.
        fill: As for ``TumourErasing``.
    """
    if fill == "inpaint":
        return inpaint(images, region, ITERATIONS)
    if fill == "black":
        return images.masked_fill(region, 0.0)
    rim = (dilate(region, RIM) & ~region).to(images.dtype)
    means = (images * rim).sum(dim=(2, 3), keepdim=True) / rim.sum(dim=(2, 3), keepdim=True)
    return torch.where(region, means, images)
