"""Weights of classes for the loss."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def class_weights(entries: Sequence[Mapping[str, Any]], num_classes: int) -> Tensor:
    """Weights of classes for a loss in which all classes count alike, whatever their share of the slices.

    A network that is trained so answers as if every class were as frequent as the others, which is what balanced
    accuracy asks for; its probabilities are not those of the set. Source: the balanced error of Menon et al.,
    "Long-tail learning via logit adjustment", ICLR 2021, section 2.

    Args:
        entries: Entries of the training split, with ``label``.
        num_classes: Classes ``K``.

    Returns:
        Shape ``(K,)``, float32; their mean over the slices is 1.

    Raises:
        ValueError: A class has no slice; the message names its number.
    """
    counts = Counter(int(entry["label"]) for entry in entries)
    missing = sorted(set(range(num_classes)) - counts.keys())
    if missing:
        raise ValueError(f"classes {', '.join(map(str, missing))} have no slice in the training split to weigh")
    return torch.tensor([len(entries) / (num_classes * counts[label]) for label in range(num_classes)])
