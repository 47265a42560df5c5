"""Distillation of correlations: which classes go together in a sample, which samples in a class."""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from kdmri_monai.losses.logits import check_temperature, logit_pair
from kdmri_monai.losses.terms import DistillationInputs, DistillationTerm

# added to sums of squares, so a row that spreads less than about 1e-4 counts as one without a pattern
SPREAD_FLOOR = 1e-8


def dist_loss(
    student_logits: Tensor, teacher_logits: Tensor, beta: float = 1.0, gamma: float = 1.0, temperature: float = 1.0
) -> Tensor:
    """Pearson distances ``1 - r`` of the softened classes, ``T^2 (beta inter + gamma intra)``.

    With ``p = softmax(z / T)``, ``inter`` is the mean distance between teacher and student over the samples (r over the
    K classes of a row of p), ``intra`` the mean over the classes (r over the B samples of a column). A row or column
    that does not vary has no correlation: it counts as r = 0 and its gradient is finite. A batch of one sample has no
    columns to correlate, so ``intra`` is 0 there.

    Source: Huang et al., "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022, the losses
    ``L_inter`` and ``L_intra``.

    Args:
        student_logits: Shape ``(B, K)``.
        teacher_logits: Shape ``(B, K)``; gets no gradient.
        beta: Weight of the distance over the classes of a sample.
        gamma: Weight of the distance over the samples of a class.
        temperature: ``T``.

    Returns:
        A scalar.

    Raises:
        ValueError: The logits differ in shape or are not ``(B, K)``, or a temperature that is not positive.
    """
    logits = logit_pair(student_logits, teacher_logits)
    check_temperature(temperature)
    student, teacher = ((z / temperature).softmax(dim=1) for z in logits)
    loss = beta * pearson_distance(student, teacher).mean()
    if len(student) > 1:
        loss = loss + gamma * pearson_distance(student.T, teacher.T).mean()
    return temperature**2 * loss


def pearson_distance(first: Tensor, second: Tensor) -> Tensor:
    """One minus the correlation of every row, shape ``(M,)`` for tensors ``(M, N)``; 1 for a row that does not vary."""
    first = first - first.mean(dim=1, keepdim=True)
    second = second - second.mean(dim=1, keepdim=True)
    spread = (first.square().sum(dim=1) + SPREAD_FLOOR) * (second.square().sum(dim=1) + SPREAD_FLOOR)
    return 1 - (first * second).sum(dim=1) / spread.sqrt()


class DistTargets(DistillationTerm):
    """``dist_loss`` as a term.

    Args:
        beta: Weight of the distance over the classes of a sample.
        gamma: Weight of the distance over the samples of a class.
        temperature: ``T`` of the softened classes.
    """

    def __init__(self, beta: float = 1.0, gamma: float = 1.0, temperature: float = 1.0) -> None:
        super().__init__()
        check_temperature(temperature)
        self.beta = beta
        self.gamma = gamma
        self.temperature = temperature

    def build(
        self, student_shapes: Sequence[torch.Size], teacher_shapes: Sequence[torch.Size], num_classes: int
    ) -> None:
        """Warn where there are too few classes to correlate."""
        del student_shapes, teacher_shapes
        if num_classes <= 3:
            lost = "is 0 or 2" if num_classes == 2 else "takes (.98, .01, .01) and (.50, .25, .25) for equal"
            warnings.warn(
                f"dist with {num_classes} classes: the distance over the classes of a sample {lost}, so how sure the "
                "teacher is reaches the student through the correlation over the batch alone",
                UserWarning,
                stacklevel=2,
            )

    def forward(self, inputs: DistillationInputs) -> Tensor:
        """Loss, a scalar."""
        return dist_loss(inputs.student_logits, inputs.teacher_logits, self.beta, self.gamma, self.temperature)
