"""Features matched through an orthogonal projection, which can neither stretch nor invent anything."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdmri_monai.losses.pairing import check_pairs, check_same_shape, mean_over_pairs, projected
from kdmri_monai.losses.projectors import orthogonal_projector
from kdmri_monai.losses.terms import DistillationInputs, DistillationTerm
from kdmri_monai.networks.precision import at_least_float32
from kdmri_monai.networks.resampling import pooled


def vkd_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Smooth L1 distance to the teacher's features after LayerNorm without parameters.

    ``mean smoothL1(s, (t - mean_c t) / sqrt(var_c t + 1e-5))``, quadratic below a difference of 1.

    Source: Miles et al., "VkD: Improving Knowledge Distillation using Orthogonal Projections", CVPR 2024, section 3.

    Args:
        student: Projected features, shape ``(B, D)``.
        teacher: Features, shape ``(B, D)``; get no gradient.

    Returns:
        A scalar.

    Raises:
        ValueError: The shapes differ.
    """
    check_same_shape(student, teacher)
    target = F.layer_norm(at_least_float32(teacher.detach()), teacher.shape[1:])
    return F.smooth_l1_loss(at_least_float32(student), target)


class OrthogonalProjection(DistillationTerm):
    """``vkd_loss`` behind ``orthogonal_projector``; maps are averaged over space, pairs of taps are averaged.

    A student with more channels than the teacher works too: it is then compared within a subspace of its own.
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
            ValueError: No taps, or not as many on both sides.
        """
        check_pairs(student_shapes, teacher_shapes)
        self.projectors = nn.ModuleList(
            orthogonal_projector(student[0], teacher[0])
            for student, teacher in zip(student_shapes, teacher_shapes, strict=True)
        )

    def forward(self, inputs: DistillationInputs) -> Tensor:
        """Loss, a scalar.

        Raises:
            RuntimeError: ``build`` was not called.
        """
        vectors = [pooled(at_least_float32(feature)) for feature in inputs.student_features]
        targets = [pooled(at_least_float32(feature)) for feature in inputs.teacher_features]
        return mean_over_pairs(vkd_loss, projected(self.projectors, vectors, self), targets)
