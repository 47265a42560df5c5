"""The student's feature of a sample is told from the teacher's features of all other samples of the batch."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from kdmri_monai.losses.directions import unit_vectors
from kdmri_monai.losses.pairing import check_pairs, check_same_shape, mean_over_pairs, projected
from kdmri_monai.losses.projectors import pointwise_projector
from kdmri_monai.losses.terms import DistillationInputs, DistillationTerm
from kdmri_monai.networks.precision import at_least_float32
from kdmri_monai.networks.resampling import pooled


def infonce_loss(student: Tensor, teacher: Tensor, temperature: float = 0.1, labels: Tensor | None = None) -> Tensor:
    """Cross-entropy of finding the own sample among the teacher's features of the batch.

    ``-mean_i log(exp(c_ii / T) / sum_j exp(c_ij / T))`` with ``c_ij`` the cosine of student i and teacher j. A sample
    without negatives (a batch of one, or of one class with ``labels``) costs nothing.

    Source: van den Oord et al., "Representation Learning with Contrastive Predictive Coding", 2018, equation 4, as
    used between teacher and student by Tian et al., "Contrastive Representation Distillation", ICLR 2020.
    Differs from the latter: negatives come from the batch and not from a memory, and the teacher's side has no
    embedding that learns.

    Args:
        student: Projected features, shape ``(B, D)``.
        teacher: Features, shape ``(B, D)``; get no gradient.
        temperature: ``T``, 0.07 to 0.2 is usual.
        labels: Classes ``(B,)``; other samples of the same class are then no negatives.

    Returns:
        A scalar, the mean over the batch.

    Raises:
        ValueError: The shapes differ, or the temperature is not positive.
    """
    check_same_shape(student, teacher)
    _check_temperature(temperature)
    student, teacher = unit_vectors(at_least_float32(student)), unit_vectors(at_least_float32(teacher.detach()))
    logits = student @ teacher.T / temperature
    if labels is not None:
        same = (labels[:, None] == labels[None]).fill_diagonal_(False)
        logits = logits.masked_fill(same, -torch.inf)
    return (logits.logsumexp(dim=1) - logits.diagonal()).mean()


def _check_temperature(temperature: float) -> None:
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}, it must be positive")


class ContrastiveFeatures(DistillationTerm):
    """``infonce_loss`` behind a linear map on the student's side; maps and pairs of taps are averaged.

    Args:
        temperature: ``T`` of the cosines.
        same_class_negatives: Whether other samples of the same class count as negatives. They do as published; with
            three classes a third of all negatives then pushes samples of one class apart.
    """

    wants: ClassVar[Literal["vectors"]] = "vectors"
    smallest_batch: ClassVar[int] = 2
    compares_channels: ClassVar[bool] = True

    def __init__(self, temperature: float = 0.1, same_class_negatives: bool = True) -> None:
        super().__init__()
        _check_temperature(temperature)
        self.temperature = temperature
        self.same_class_negatives = same_class_negatives
        self.projectors = nn.ModuleList()

    def build(
        self, student_shapes: Sequence[torch.Size], teacher_shapes: Sequence[torch.Size], num_classes: int
    ) -> None:
        """Make a projector for every pair of taps.

        Raises:
            ValueError: No taps, or not as many on both sides.
        """
        check_pairs(student_shapes, teacher_shapes)
        self.projectors = nn.ModuleList(
            pointwise_projector(student[0], teacher[0], spatial_dims=0)
            for student, teacher in zip(student_shapes, teacher_shapes, strict=True)
        )

    def forward(self, inputs: DistillationInputs) -> Tensor:
        """Loss, a scalar.

        Raises:
            RuntimeError: ``build`` was not called.
        """
        vectors = [pooled(at_least_float32(feature)) for feature in inputs.student_features]
        targets = [pooled(at_least_float32(feature)) for feature in inputs.teacher_features]
        labels = None if self.same_class_negatives else inputs.labels
        return mean_over_pairs(
            lambda s, t: infonce_loss(s, t, self.temperature, labels),
            projected(self.projectors, vectors, self),
            targets,
        )
