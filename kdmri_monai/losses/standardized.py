"""Distillation of standardised logits: the order and spacing of the classes, not how large the logits are."""

import warnings
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from kdmri_monai.losses.logits import check_temperature, logit_pair
from kdmri_monai.losses.soft_targets import kd_loss
from kdmri_monai.losses.terms import DistillationInputs, DistillationTerm

# added to the variance over the classes: equal logits give zeros, and a slope of at most a thousand
VARIANCE_FLOOR = 1e-6


def ls_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 2.0) -> Tensor:
    """``kd_loss`` of z-scored logits: ``T^2 KL(softmax(Z(z_t) / T), softmax(Z(z_s) / T))``.

    ``Z(z) = (z - mean z) / std z`` over the K classes of every sample, the standard deviation over K, not K - 1.

    Source: Sun et al., "Logit Standardization in Knowledge Distillation", CVPR 2024, the algorithm
    "Z-score logit standardization pre-process".

    Args:
        student_logits: Shape ``(B, K)``.
        teacher_logits: Shape ``(B, K)``; gets no gradient.
        temperature: ``T``, the base temperature of the paper.

    Returns:
        A scalar, the mean over the batch.

    Raises:
        ValueError: The logits differ in shape or are not ``(B, K)``, or a temperature that is not positive.
    """
    student, teacher = logit_pair(student_logits, teacher_logits)
    return kd_loss(standardized(student), standardized(teacher), temperature)


def standardized(logits: Tensor) -> Tensor:
    """Logits ``(B, K)`` with mean 0 and variance 1 over the classes; zeros where all classes are equal."""
    return F.layer_norm(logits, logits.shape[1:], eps=VARIANCE_FLOOR)


class StandardizedTargets(DistillationTerm):
    """``ls_loss`` as a term.

    Args:
        temperature: ``T``, applied after standardisation.
    """

    def __init__(self, temperature: float = 2.0) -> None:
        super().__init__()
        check_temperature(temperature)
        self.temperature = temperature

    def build(
        self, student_shapes: Sequence[torch.Size], teacher_shapes: Sequence[torch.Size], num_classes: int
    ) -> None:
        """Warn where there are too few classes to standardise over."""
        del student_shapes, teacher_shapes
        if num_classes <= 3:
            lost = "are two points" if num_classes == 2 else "lie on a circle"
            warnings.warn(
                f"ls with {num_classes} classes: standardised logits {lost}, so a teacher that is 99.9 % sure and one "
                "that hardly is can give the same target",
                UserWarning,
                stacklevel=2,
            )

    def forward(self, inputs: DistillationInputs) -> Tensor:
        """Loss, a scalar."""
        return ls_loss(inputs.student_logits, inputs.teacher_logits, self.temperature)
