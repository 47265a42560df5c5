"""The ways to see where a given network looks, each as one function of a batch."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kdmri_monai.evaluation.attention_rollout import attends_globally, attention_rollout
from kdmri_monai.evaluation.cam_layer import default_cam_layer, depends_on_image
from kdmri_monai.evaluation.localisation import grad_cam
from kdmri_monai.evaluation.slice_batches import SliceBatch
from kdmri_monai.networks.tap_spec import Tap, TapSpec, as_tap


@dataclass(frozen=True)
class HeatMethod:
    """One way to see where a network looks.

    Attributes:
        name: ``grad_cam`` or ``attention_rollout``.
        layer: What is read, for people.
        heat: From a network, a batch and the classes that are asked about ``(B,)`` to heat ``(B, 1, H, W)``; the
            network is given masks where it wants them.
    """

    name: str
    layer: str
    heat: Callable[[nn.Module, SliceBatch, Tensor], Tensor]


def heat_methods(
    network: nn.Module, image_shape: Sequence[int], layer: TapSpec | None = None
) -> tuple[list[HeatMethod], str]:
    """Grad-CAM where there is a layer for it, and attention rollout where attention is global.

    Args:
        network: Gives logits ``(B, K)``.
        image_shape: Channels and size of one image.
        layer: Layer of Grad-CAM; ``default_cam_layer`` by default.

    Returns:
        The methods, Grad-CAM first, and why there is no Grad-CAM (empty where there is).

    Raises:
        ValueError: There is no layer of that name, or what it gives does not depend on the image.
    """
    methods, reason = [], ""
    if layer is not None:
        if not depends_on_image(network, layer, image_shape):
            raise ValueError(f"`{as_tap(layer).label}` does not depend on the image, so its heat is none of the image")
        methods.append(_cam(as_tap(layer)))
    else:
        try:
            methods.append(_cam(default_cam_layer(network, image_shape)))
        except ValueError as error:
            reason = str(error)
    if attends_globally(network):
        methods.append(HeatMethod("attention_rollout", "every block", _rollout))
    return methods, reason


@contextmanager
def privileged(network: nn.Module, batch: SliceBatch) -> Iterator[None]:
    """A network that takes its privileged inputs from the batch when it is called with the image alone."""
    given: dict[str, Any] = {key: getattr(batch, key) for key in getattr(network, "privileged_keys", ())}

    def add(_module: nn.Module, inputs: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return inputs, given | named

    handle = network.register_forward_pre_hook(add, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _cam(tap: Tap) -> HeatMethod:
    def heat(network: nn.Module, batch: SliceBatch, classes: Tensor) -> Tensor:
        with privileged(network, batch):
            return grad_cam(network, batch.image, tap, classes)

    return HeatMethod("grad_cam", tap.label, heat)


def _rollout(network: nn.Module, batch: SliceBatch, _classes: Tensor) -> Tensor:
    with privileged(network, batch), torch.no_grad():
        return attention_rollout(network, batch.image)
