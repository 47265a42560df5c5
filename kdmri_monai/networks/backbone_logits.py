"""The logits that a backbone may give beside its features."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from kdmri_monai.networks.dry_run import dry_run


def own_logits(output: Any) -> Tensor | None:
    """Logits ``(B, K)`` if the output is one, or its first item is; ``None`` for maps and lists of maps."""
    first = output[0] if isinstance(output, (tuple, list)) else output
    return first if isinstance(first, Tensor) and first.ndim == 2 else None


def checked_logits(backbone: nn.Module, image_shape: Sequence[int], num_classes: int) -> bool:
    """Whether a backbone gives logits of its own, found by a dry run.

    Raises:
        ValueError: It gives logits of another number of classes.
    """
    logits = own_logits(dry_run(backbone, image_shape))
    if logits is not None and logits.shape[1] != num_classes:
        raise ValueError(
            f"{type(backbone).__name__} gives {logits.shape[1]} logits where num_classes is {num_classes}: build it "
            "for as many classes, or hand over the part that gives maps"
        )
    return logits is not None
