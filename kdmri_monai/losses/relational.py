"""Relations between the samples of a batch: how far apart, and at which angles."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from kdmri_monai.losses.directions import lengths, unit_vectors
from kdmri_monai.losses.pairing import check_batch, check_pairs, mean_over_pairs
from kdmri_monai.losses.terms import DistillationInputs, DistillationTerm
from kdmri_monai.networks.precision import at_least_float32
from kdmri_monai.networks.resampling import pooled


def rkd_loss(student: Tensor, teacher: Tensor, distance_weight: float = 25.0, angle_weight: float = 50.0) -> Tensor:
    """Weighted sum of ``distance_loss`` and ``angle_loss``, the published weights by default.

    Source: Park et al., "Relational Knowledge Distillation", CVPR 2019, equations 5-11.

    Args:
        student: Features, shape ``(B, C)``.
        teacher: Features, shape ``(B, C')``; get no gradient.
        distance_weight: Weight of the distances.
        angle_weight: Weight of the angles.

    Returns:
        A scalar.

    Raises:
        ValueError: Fewer than three samples, batches of different size, or a negative weight.
    """
    check_batch(student, teacher, smallest=3)
    _check_weights(distance_weight, angle_weight)
    student, teacher = at_least_float32(student), at_least_float32(teacher.detach())
    distances, angles = distance_loss(student, teacher), angle_loss(student, teacher)
    return distance_weight * distances + angle_weight * angles


def distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean Huber difference of distances over pairs of different samples, both in units of their mean over the batch.

    Equations 5-8. Samples that coincide give a distance of zero without gradient.

    Args:
        student: Features, shape ``(B, C)``.
        teacher: Features, shape ``(B, C')``.
    """
    return F.smooth_l1_loss(_relative_distances(student), _relative_distances(teacher))


def angle_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean Huber difference of ``cos(t_i - t_j, t_k - t_j)`` over triplets of different samples.

    Equations 9-11. A triplet with two samples that coincide has a cosine of zero.

    Args:
        student: Features, shape ``(B, C)``.
        teacher: Features, shape ``(B, C')``.
    """
    different = _off_diagonal(len(student), student.device)
    triplets = different[:, :, None] & different[:, None, :] & different[None, :, :]
    return F.smooth_l1_loss(_cosines(student)[triplets], _cosines(teacher)[triplets])


def _relative_distances(vectors: Tensor) -> Tensor:
    apart = lengths(vectors[:, None] - vectors[None]).squeeze(2)[_off_diagonal(len(vectors), vectors.device)]
    return apart / apart.mean().clamp_min(1e-12)


def _cosines(vectors: Tensor) -> Tensor:
    """Cosines at sample j between i and k, at ``[j, i, k]``."""
    directions = unit_vectors(vectors[None] - vectors[:, None])
    return directions @ directions.transpose(1, 2)


def _off_diagonal(size: int, device: torch.device) -> Tensor:
    return ~torch.eye(size, dtype=torch.bool, device=device)


def _check_weights(distance_weight: float, angle_weight: float) -> None:
    if distance_weight < 0 or angle_weight < 0:
        raise ValueError(f"weights of distance {distance_weight} and angle {angle_weight} must not be negative")


class RelationalGeometry(DistillationTerm):
    """``rkd_loss``; maps are averaged over space, pairs of taps are averaged. Learns nothing.

    Args:
        distance_weight: Weight of the distances.
        angle_weight: Weight of the angles.
    """

    wants: ClassVar[Literal["vectors"]] = "vectors"
    smallest_batch: ClassVar[int] = 3

    def __init__(self, distance_weight: float = 25.0, angle_weight: float = 50.0) -> None:
        super().__init__()
        _check_weights(distance_weight, angle_weight)
        self.distance_weight = distance_weight
        self.angle_weight = angle_weight

    def build(
        self, student_shapes: Sequence[torch.Size], teacher_shapes: Sequence[torch.Size], num_classes: int
    ) -> None:
        """Check the taps.

        Raises:
            ValueError: No taps, or not as many on both sides.
        """
        check_pairs(student_shapes, teacher_shapes)

    def forward(self, inputs: DistillationInputs) -> Tensor:
        """Loss, a scalar.

        Raises:
            ValueError: Fewer than three samples.
        """
        return mean_over_pairs(self._loss, inputs.student_features, inputs.teacher_features)

    def _loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        vectors = pooled(at_least_float32(student)), pooled(at_least_float32(teacher))
        return rkd_loss(*vectors, self.distance_weight, self.angle_weight)
