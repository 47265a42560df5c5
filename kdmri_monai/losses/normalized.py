"""Normalised distillation: the label's class by the teacher's trust in it, the others as one distribution."""

import warnings
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from kdmri_monai.losses.logits import check_temperature, logit_pair, split_target
from kdmri_monai.losses.terms import DistillationInputs, DistillationTerm


def nkd_loss(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, gamma: float = 1.5, temperature: float = 1.0
) -> Tensor:
    """Normalised distillation, the mean over the batch of ``-t_y log s_y - gamma T^2 sum_{k != y} n(t)_k log n(s)_k``.

    The label's class y has ``t = softmax(z_t)``, ``s = softmax(z_s)`` without temperature;
    ``n(.)_k = p_k / (1 - p_y)`` of ``p = softmax(z / T)`` normalises the other classes. A cross-entropy: its least
    value is above 0.

    Source: Yang et al., "From Knowledge Distillation to Self-Knowledge Distillation: A Unified Approach with Normalized
    Loss and Customized Soft Labels", ICCV 2023, the loss ``L_nkd``.

    Args:
        student_logits: Shape ``(B, K)``.
        teacher_logits: Shape ``(B, K)``; gets no gradient.
        labels: Classes, integers, shape ``(B,)``.
        gamma: Weight of the other classes; they say nothing where there are two classes.
        temperature: ``T`` of the other classes.

    Returns:
        A scalar, the mean over the batch.

    Raises:
        ValueError: The logits differ in shape or are not ``(B, K)``, labels that are not ``(B,)`` integers, or a
            temperature that is not positive.
    """
    student, teacher = logit_pair(student_logits, teacher_logits)
    check_temperature(temperature)
    student_target, _ = split_target(F.log_softmax(student, dim=1), labels)
    teacher_target, _ = split_target(teacher.softmax(dim=1), labels)
    _, student_others = split_target(student / temperature, labels)
    _, teacher_others = split_target(teacher / temperature, labels)
    others = -(teacher_others.softmax(dim=1) * F.log_softmax(student_others, dim=1)).sum(dim=1)
    return (gamma * temperature**2 * others - (teacher_target * student_target).squeeze(1)).mean()


class NormalizedTargets(DistillationTerm):
    """``nkd_loss`` as a term.

    Args:
        gamma: Weight of the classes beside the label.
        temperature: ``T`` of those classes.
    """

    def __init__(self, gamma: float = 1.5, temperature: float = 1.0) -> None:
        super().__init__()
        check_temperature(temperature)
        self.gamma = gamma
        self.temperature = temperature

    def build(
        self, student_shapes: Sequence[torch.Size], teacher_shapes: Sequence[torch.Size], num_classes: int
    ) -> None:
        """Warn where there are too few classes beside the label."""
        del student_shapes, teacher_shapes
        if num_classes <= 3:
            left = "is always 0" if num_classes == 2 else "compares one number a sample"
            warnings.warn(
                f"nkd with {num_classes} classes: its normalised part on the classes beside the label {left}; "
                "kd says as much",
                UserWarning,
                stacklevel=2,
            )

    def forward(self, inputs: DistillationInputs) -> Tensor:
        """Loss, a scalar."""
        return nkd_loss(inputs.student_logits, inputs.teacher_logits, inputs.labels, self.gamma, self.temperature)
