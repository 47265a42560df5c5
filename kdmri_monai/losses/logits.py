"""Logits as the terms take them: a checked pair, and the label's class apart from the others."""

import torch
from torch import Tensor

from kdmri_monai.networks.precision import at_least_float32


def logit_pair(student_logits: Tensor, teacher_logits: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float32 or better, the teacher's without gradient.

    Args:
        student_logits: Shape ``(B, K)``.
        teacher_logits: Shape ``(B, K)``.

    Raises:
        ValueError: The shapes differ or are not ``(B, K)``; fewer than two classes.
    """
    shapes = tuple(student_logits.shape), tuple(teacher_logits.shape)
    if shapes[0] != shapes[1]:
        raise ValueError(f"student logits {shapes[0]}, teacher logits {shapes[1]}")
    if len(shapes[0]) != 2 or shapes[0][1] < 2:
        raise ValueError(f"logits are {shapes[0]}, they must be (B, K) with at least 2 classes")
    return at_least_float32(student_logits), at_least_float32(teacher_logits).detach()


def split_target(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of the label's class, ``(B, 1)``, and of the other classes in their order, ``(B, K - 1)``.

    Args:
        logits: Shape ``(B, K)``.
        labels: Classes, integers, shape ``(B,)``.

    Raises:
        ValueError: The labels are not one integer a sample.
    """
    check_labels(logits, labels)
    column = labels.long().unsqueeze(1)
    others = torch.arange(logits.shape[1] - 1, device=logits.device).expand(len(logits), -1)
    return logits.gather(1, column), logits.gather(1, others + (others >= column))


def check_labels(logits: Tensor, labels: Tensor) -> None:
    """Refuse labels that are not one integer for every row of the logits."""
    if labels.shape != logits.shape[:1] or labels.is_floating_point():
        raise ValueError(
            f"labels are {tuple(labels.shape)} of {labels.dtype}, they must be one integer for each of "
            f"{len(logits)} samples"
        )


def check_temperature(temperature: float) -> None:
    """Refuse a temperature that is not positive."""
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}, it must be positive")
