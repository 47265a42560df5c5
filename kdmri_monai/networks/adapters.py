"""Adapters that turn MONAI's networks into classifiers: an image in, logits ``(B, K)`` out."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class FirstOutput(nn.Module):
    """A network that returns a tuple, reduced to its first item.

    MONAI's ``ViT`` returns ``(logits, hidden states)``; give it ``post_activation=None`` so that no Tanh bounds the
    logits.

    Args:
        network: Any network whose forward gives a tuple or a list with the logits ``(B, K)`` first.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Logits, shape ``(B, K)``, of images ``(B, C, H, W)``."""
        logits: Tensor = self.network(image)[0]
        return logits


class PooledClassifier(nn.Module):
    """A backbone that gives maps, followed by global average pooling, LayerNorm and one linear layer.

    MONAI's ``SwinTransformer`` and ``ResNetFeatures`` give a list of maps, finest first; the last one is pooled.

    Args:
        backbone: Network whose forward gives maps ``(B, E, *spatial)`` or a sequence of them.
        num_features: Channels ``E`` of the last map.
        num_classes: Classes ``K``.
        dropout: Probability of dropping a pooled feature.
    """

    def __init__(self, backbone: nn.Module, num_features: int, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.backbone = backbone
        self.norm = nn.LayerNorm(num_features)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(num_features, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """Logits, shape ``(B, K)``, of images ``(B, C, *spatial)``."""
        maps: Tensor | Sequence[Any] = self.backbone(image)
        last: Tensor = maps if isinstance(maps, Tensor) else maps[-1]
        pooled = torch.flatten(last, start_dim=2).mean(dim=2)
        logits: Tensor = self.head(self.dropout(self.norm(pooled)))
        return logits
