"""Shape of the cloud of features: its distance to the teacher's after the best rotation, shift and scale."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from kdmri_monai.losses.directions import unit_vectors
from kdmri_monai.losses.pairing import check_batch, check_pairs, mean_over_pairs
from kdmri_monai.losses.terms import DistillationInputs, DistillationTerm
from kdmri_monai.networks.precision import at_least_float32
from kdmri_monai.networks.resampling import pooled


def procrustes_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance of two clouds of points after the orthogonal map that brings them closest.

    ``2 (1 - ||X_t' X_s||_*)`` for features centred over the batch and of unit Frobenius norm; ``||.||_*`` is the sum
    of the singular values. A cloud without extent gives 2 and no gradient.

    For teachers wider than the batch ``X_t' = QR`` and the sum is taken from ``R X_s``, which has the same singular
    values and only B rows, so that no width has to be refused. The gradient ``U V'`` of the sum is bounded and does
    not depend on gaps, so that repeated singular values do no harm; where some are zero it is one of the subgradients.

    Source: Bhattarai et al., "Knowledge distillation through geometry-aware representational alignment",
    arXiv 2509.25253; Schönemann, "A generalized solution of the orthogonal Procrustes problem", 1966.

    Args:
        student: Features, shape ``(B, C)``.
        teacher: Features, shape ``(B, C')``; get no gradient.

    Returns:
        A scalar in 0..2, computed in float32 or better.

    Raises:
        ValueError: Fewer than two samples, or batches of different size.
    """
    check_batch(student, teacher, smallest=2)
    student, teacher = _unit_cloud(at_least_float32(student)), _unit_cloud(at_least_float32(teacher.detach()))
    across = teacher.T if teacher.shape[1] <= len(teacher) else torch.linalg.qr(teacher.T, mode="r").R
    return 2 * (1 - torch.linalg.svdvals(across @ student).sum())


def _unit_cloud(vectors: Tensor) -> Tensor:
    centred = vectors - vectors.mean(dim=0)
    return unit_vectors(centred.flatten(), dim=0).reshape(vectors.shape)


class ProcrustesAlignment(DistillationTerm):
    """``procrustes_loss``; maps are averaged over space, pairs of taps are averaged. Learns nothing."""

    wants: ClassVar[Literal["vectors"]] = "vectors"
    smallest_batch: ClassVar[int] = 2

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
            ValueError: Fewer than two samples.
        """
        return mean_over_pairs(
            lambda s, t: procrustes_loss(pooled(at_least_float32(s)), pooled(at_least_float32(t))),
            inputs.student_features,
            inputs.teacher_features,
        )
