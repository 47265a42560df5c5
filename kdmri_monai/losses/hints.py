"""Features matched channel by channel and position by position: the baseline of feature distillation."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdmri_monai.losses.pairing import check_batch, check_pairs, mean_over_pairs, projected, smaller_size
from kdmri_monai.losses.projectors import pointwise_projector
from kdmri_monai.losses.terms import DistillationInputs, DistillationTerm
from kdmri_monai.networks.precision import at_least_float32
from kdmri_monai.networks.resampling import match_size, pooled


def fitnet_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of features, maps area-pooled to the smaller size of every axis.

    Source: Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, equation 3.
    Differs: a mean in place of half the sum, so that the weight does not depend on the size.

    Args:
        student: Projected maps ``(B, D, *spatial)`` or vectors ``(B, D)``.
        teacher: Maps ``(B, D, *spatial')`` or vectors ``(B, D)``; get no gradient.

    Returns:
        A scalar.

    Raises:
        ValueError: Channels, axes or batches differ.
    """
    check_batch(student, teacher)
    if student.ndim != teacher.ndim or student.shape[1] != teacher.shape[1]:
        raise ValueError(
            f"features of as many channels and axes are wanted; got {tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    student, teacher = at_least_float32(student), at_least_float32(teacher.detach())
    if student.ndim > 2:
        size = smaller_size(student, teacher)
        student, teacher = match_size(student, size), match_size(teacher, size)
    return F.mse_loss(student, teacher)


class Hints(DistillationTerm):
    """``fitnet_loss`` behind a 1x1 convolution on the student's side, averaged over the pairs of taps.

    It takes maps and vectors: maps are compared as maps where both sides give maps of as many axes, and averaged over
    space where the other side gives vectors.
    """

    wants: ClassVar[Literal["vectors"]] = "vectors"
    compares_channels: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.projectors = nn.ModuleList()

    def build(
        self, student_shapes: Sequence[torch.Size], teacher_shapes: Sequence[torch.Size], num_classes: int
    ) -> None:
        """Make a projector for every pair of taps.

        Raises:
            ValueError: No taps, not as many on both sides, or a pair of 2D and 3D maps.
        """
        check_pairs(student_shapes, teacher_shapes)
        axes = [
            _spatial_dims(student, teacher) for student, teacher in zip(student_shapes, teacher_shapes, strict=True)
        ]
        self.projectors = nn.ModuleList(
            pointwise_projector(student[0], teacher[0], dims)
            for student, teacher, dims in zip(student_shapes, teacher_shapes, axes, strict=True)
        )

    def forward(self, inputs: DistillationInputs) -> Tensor:
        """Loss, a scalar.

        Raises:
            RuntimeError: ``build`` was not called.
        """
        pairs = [_comparable(s, t) for s, t in zip(inputs.student_features, inputs.teacher_features, strict=True)]
        student = projected(self.projectors, [s for s, _ in pairs], self)
        return mean_over_pairs(fitnet_loss, student, [t for _, t in pairs])


def _spatial_dims(student: torch.Size, teacher: torch.Size) -> int:
    dims = len(student) - 1, len(teacher) - 1
    if min(dims) > 0 and dims[0] != dims[1]:
        raise ValueError(f"maps of as many axes are wanted; got {tuple(student)} and {tuple(teacher)}")
    return min(dims)


def _comparable(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    student, teacher = at_least_float32(student), at_least_float32(teacher)
    if student.ndim == teacher.ndim > 2:
        size = smaller_size(student, teacher)
        return match_size(student, size), match_size(teacher, size)  # before the projector: the same, and cheaper
    return pooled(student), pooled(teacher)
