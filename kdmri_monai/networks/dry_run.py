"""A pass of zeros through a network, after which the network is as it was."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import nn

DRY_RUN_BATCH = 2
"""Images of a dry run: two, so that a tensor whose first dimension is not the batch can be told."""


@contextmanager
def evaluating(*networks: nn.Module) -> Iterator[None]:
    """Networks in eval mode inside the ``with`` block; afterwards the mode of every module is what it was."""
    modes = [(module, module.training) for network in networks for module in network.modules()]
    for network in networks:
        network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def dry_run(network: nn.Module, image_shape: Sequence[int]) -> Any:
    """Run the network in eval mode, without gradient, on two images of zeros of its own device and precision.

    Args:
        network: Any network; the mode of every module stays, and with it, in eval mode, the batch statistics.
        image_shape: Channels and spatial size of one image, e.g. ``(1, 128, 128)``.

    Returns:
        What the network gives for the two.
    """
    held = [tensor for tensor in chain(network.parameters(), network.buffers()) if tensor.is_floating_point()]
    like = held[0] if held else torch.zeros(())
    with evaluating(network), torch.no_grad():
        return network(torch.zeros(DRY_RUN_BATCH, *image_shape, device=like.device, dtype=like.dtype))
