"""Penultimate features of any network: what its last linear layers make the logits of."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from kdmri_monai.evaluation.slice_batches import SliceBatch, answer


class NoLinearLayer(ValueError):
    """A network whose logits no linear layer gives."""


@torch.no_grad()
def penultimate_features(network: nn.Module, batch: SliceBatch) -> Tensor:
    """Input of the linear layer that gives the logits, found by hooks while the network runs in eval mode.

    Where logits are a sum or a mean of several linear layers, as of a backbone and a head on its features or of the
    members of an ensemble, the inputs of all of them stand side by side, in the order in which they ran.

    Args:
        network: On the device of the batch; hooks and modes are afterwards as they were.
        batch: Slices.

    Returns:
        Shape ``(B, C)``, float32 or better.

    Raises:
        NoLinearLayer: No linear layer of the network gives anything of the shape of the logits.
    """
    with _linear_calls(network) as calls:
        logits = answer(network, batch)
    inputs = [given for given, output in calls if output.shape == logits.shape]
    if not inputs:
        raise NoLinearLayer(
            f"{type(network).__name__} has no linear layer that gives logits of shape {tuple(logits.shape)} (a "
            "classifier of convolutions, or one whose layers are not nn.Linear): its penultimate features are not known"
        )
    features = torch.cat(inputs, dim=1)
    return features if features.dtype == torch.float64 else features.float()


@contextmanager
def _linear_calls(network: nn.Module) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Input and output of every linear layer that gives vectors inside the ``with`` block."""
    calls: list[tuple[Tensor, Tensor]] = []

    def keep(_module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        if output.ndim == 2:
            calls.append((inputs[0], output))

    handles = [module.register_forward_hook(keep) for module in network.modules() if isinstance(module, nn.Linear)]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
