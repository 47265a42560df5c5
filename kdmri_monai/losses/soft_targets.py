"""Terms on softened logits."""

import torch.nn.functional as F
from torch import Tensor

from kdmri_monai.losses.terms import DistillationInputs, DistillationTerm
from kdmri_monai.networks.precision import at_least_float32


def kd_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 2.0) -> Tensor:
    """Kullback-Leibler divergence from the teacher's softened classes to the student's, times ``temperature ** 2``.

    ``T^2 mean_b sum_k p_t log(p_t / p_s)`` with ``p = softmax(z / T)``, in float32.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, section 2.

    Args:
        student_logits: Shape ``(B, K)``.
        teacher_logits: Shape ``(B, K)``; gets no gradient.
        temperature: ``T``; large values look at all classes alike.

    Returns:
        A scalar, the mean over the batch.

    Raises:
        ValueError: The shapes differ, or the temperature is not positive.
    """
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(f"student logits {tuple(student_logits.shape)}, teacher logits {tuple(teacher_logits.shape)}")
    _check_temperature(temperature)
    student = F.log_softmax(at_least_float32(student_logits) / temperature, dim=1)
    teacher = F.log_softmax(at_least_float32(teacher_logits).detach() / temperature, dim=1)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2


class SoftTargets(DistillationTerm):
    """``kd_loss`` as a term.

    Args:
        temperature: ``T`` of the softened classes.
    """

    def __init__(self, temperature: float = 2.0) -> None:
        super().__init__()
        _check_temperature(temperature)
        self.temperature = temperature

    def forward(self, inputs: DistillationInputs) -> Tensor:
        """Divergence, a scalar."""
        return kd_loss(inputs.student_logits, inputs.teacher_logits, self.temperature)


def _check_temperature(temperature: float) -> None:
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}, it must be positive")
