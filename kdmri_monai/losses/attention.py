"""Where a network is active, as a map without channels."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from kdmri_monai.losses.directions import unit_vectors
from kdmri_monai.losses.pairing import check_batch, check_map_pairs, mean_over_pairs, smaller_size
from kdmri_monai.losses.terms import DistillationInputs, DistillationTerm
from kdmri_monai.networks.precision import at_least_float32
from kdmri_monai.networks.resampling import match_size


def at_loss(student: Tensor, teacher: Tensor, power: float = 2.0) -> Tensor:
    """Mean squared difference of attention maps.

    ``A = sum_c |F_c|^p`` at every position, area-pooled to the smaller size of every axis, divided by its Euclidean
    norm; the loss is the mean over batch and positions of ``(A_s - A_t)^2``.

    Source: Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017, equations 1 and 2, and their
    published mean over positions, for which a weight of 1000 is usual.

    Args:
        student: Maps ``(B, C, *spatial)``.
        teacher: Maps ``(B, C', *spatial')`` with as many axes; get no gradient.
        power: ``p``, 1 or more.

    Returns:
        A scalar.

    Raises:
        ValueError: Maps of different axes or batches, or a power below 1.
    """
    check_batch(student, teacher)
    _check_power(power)
    size = smaller_size(student, teacher)
    difference = _attention(student, size, power) - _attention(teacher.detach(), size, power)
    return difference.square().mean()


def _attention(maps: Tensor, size: Sequence[int], power: float) -> Tensor:
    """Unit vectors of all positions, shape ``(B, L)``."""
    strength = at_least_float32(maps).abs().pow(power).sum(dim=1, keepdim=True)
    return unit_vectors(match_size(strength, size).flatten(start_dim=1))


def _check_power(power: float) -> None:
    if power < 1:
        raise ValueError(f"power is {power}, it must be 1 or more")


class AttentionTransfer(DistillationTerm):
    """``at_loss`` of taps paired one to one, averaged over the pairs; learns nothing, 2D and 3D.

    Args:
        power: ``p`` of the attention maps.
    """

    wants: ClassVar[Literal["maps"]] = "maps"

    def __init__(self, power: float = 2.0) -> None:
        super().__init__()
        _check_power(power)
        self.power = power

    def build(
        self, student_shapes: Sequence[torch.Size], teacher_shapes: Sequence[torch.Size], num_classes: int
    ) -> None:
        """Check the taps.

        Raises:
            ValueError: The taps do not pair, or are no maps of as many axes.
        """
        check_map_pairs(student_shapes, teacher_shapes)

    def forward(self, inputs: DistillationInputs) -> Tensor:
        """Loss, a scalar."""
        return mean_over_pairs(lambda s, t: at_loss(s, t, self.power), inputs.student_features, inputs.teacher_features)
