"""Decoupled distillation: the label's class against the rest, and the rest among themselves, weighted apart."""

import warnings
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from kdmri_monai.losses.logits import check_temperature, logit_pair, split_target
from kdmri_monai.losses.terms import DistillationInputs, DistillationTerm


def dkd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
) -> Tensor:
    """Decoupled knowledge distillation, ``T^2 mean_b (alpha TCKD + beta NCKD)``.

    With ``p = softmax(z / T)`` and y the label, TCKD is the Kullback-Leibler divergence of the pair
    ``(p_y, 1 - p_y)`` and NCKD that of ``p_k / (1 - p_y)``, k != y, each from teacher to student. Plain distillation is
    ``TCKD + (1 - p_y) NCKD`` with the teacher's ``p_y``: a sure teacher silences its own second part.

    Source: Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022, section 3 and equation 7.
    Differs: the other classes are taken out of the logits; nothing is subtracted from the label's logit to hide it.

    Args:
        student_logits: Shape ``(B, K)``.
        teacher_logits: Shape ``(B, K)``; gets no gradient.
        labels: Classes, integers, shape ``(B,)``.
        alpha: Weight of the label's class against the rest.
        beta: Weight of the rest among themselves; nothing for two classes.
        temperature: ``T``.

    Returns:
        A scalar, the mean over the batch.

    Raises:
        ValueError: The logits differ in shape or are not ``(B, K)``, labels that are not ``(B,)`` integers, or a
            temperature that is not positive.
    """
    student, teacher = logit_pair(student_logits, teacher_logits)
    check_temperature(temperature)
    student_target, student_others = split_target(student / temperature, labels)
    teacher_target, teacher_others = split_target(teacher / temperature, labels)
    target = _target_divergence(
        student_target - student_others.logsumexp(dim=1, keepdim=True),
        teacher_target - teacher_others.logsumexp(dim=1, keepdim=True),
    )
    others = F.kl_div(
        F.log_softmax(student_others, dim=1),
        F.log_softmax(teacher_others, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return temperature**2 * (alpha * target + beta * others)


def _target_divergence(student_odds: Tensor, teacher_odds: Tensor) -> Tensor:
    """Divergence of the label's class against the rest, from log-odds, which stay exact near 0 and 1."""
    student = torch.cat([F.logsigmoid(student_odds), F.logsigmoid(-student_odds)], dim=1)
    teacher = torch.cat([F.logsigmoid(teacher_odds), F.logsigmoid(-teacher_odds)], dim=1)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True)


class DecoupledTargets(DistillationTerm):
    """``dkd_loss`` as a term.

    Args:
        alpha: Weight of the label's class against the rest.
        beta: Weight of the rest among themselves.
        temperature: ``T`` of the softened classes.
    """

    def __init__(self, alpha: float = 1.0, beta: float = 8.0, temperature: float = 4.0) -> None:
        super().__init__()
        check_temperature(temperature)
        self.alpha = alpha
        self.beta = beta
        self.temperature = temperature

    def build(
        self, student_shapes: Sequence[torch.Size], teacher_shapes: Sequence[torch.Size], num_classes: int
    ) -> None:
        """Warn where there are too few classes for the part that the method is about."""
        del student_shapes, teacher_shapes
        if num_classes <= 3:
            left = "nothing" if num_classes == 2 else "one number a sample"
            warnings.warn(
                f"dkd with {num_classes} classes: its part on the classes beside the label carries {left}, "
                "so it has hardly anything to decouple; kd says as much",
                UserWarning,
                stacklevel=2,
            )

    def forward(self, inputs: DistillationInputs) -> Tensor:
        """Loss, a scalar."""
        return dkd_loss(
            inputs.student_logits, inputs.teacher_logits, inputs.labels, self.alpha, self.beta, self.temperature
        )
