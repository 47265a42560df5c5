"""Geometry of the energy maps of two networks: which way their ridges run, and what shape their bumps have.

Untested in the literature, an idea of this project. Source of the parts: structure tensor, Bigun and Granlund, ICCV
1987; shape index and curvedness, Koenderink and van Doorn, Image and Vision Computing 1992.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from kdmri_monai.losses.pairing import check_pairs
from kdmri_monai.losses.terms import DistillationInputs, DistillationTerm
from kdmri_monai.networks.geometry.hessian import curvedness, shape_index
from kdmri_monai.networks.geometry.structure import orientation_and_coherence
from kdmri_monai.networks.precision import at_least_float32
from kdmri_monai.networks.resampling import area_pool

SIGMAS = (1.0, 2.0, 4.0)


def energy_map(maps: Tensor, eps: float = 1e-6) -> Tensor:
    """Mean square over the channels, brought to mean zero and standard deviation one in every sample.

    Args:
        maps: Shape ``(B, C, H, W)``.
        eps: Added to the variance, relative to the squared mean, so that an even map is zero.

    Returns:
        Energy, shape ``(B, 1, H, W)``.
    """
    energy = at_least_float32(maps).square().mean(dim=1, keepdim=True)
    mean = energy.mean(dim=(2, 3), keepdim=True)
    centred = energy / mean.clamp_min(torch.finfo(energy.dtype).tiny) - 1  # scale first: squares of squares overflow
    return centred / (centred.square().mean(dim=(2, 3), keepdim=True) + eps).sqrt()


def energy_geometry_loss(student_maps: Tensor, teacher_maps: Tensor, sigmas: Sequence[float] = SIGMAS) -> Tensor:
    """Difference in orientation and shape index of two energy maps, from 0 (same geometry) to 2.

    For every scale ``sum c_t (1 - cos 2(a_s - a_t)) / 2 / sum c_t + sum k_t (s_s - s_t)^2 / 4 / sum k_t`` with
    orientation ``a``, coherence ``c``, shape index ``s`` and curvedness ``k``, averaged over the scales: the teacher's
    coherence and curvedness say where its orientation and shape mean anything. Channels need not correspond.

    Args:
        student_maps: Shape ``(B, C_s, H_s, W_s)``.
        teacher_maps: Shape ``(B, C_t, H_t, W_t)``; gets no gradient. The larger of the two is area-pooled.
        sigmas: Scales in pixels of the smaller map.

    Returns:
        A scalar, the mean over the batch.

    Raises:
        ValueError: Not two batches of 2D maps, or a scale that is not positive.
    """
    if student_maps.ndim != 4 or teacher_maps.ndim != 4 or len(student_maps) != len(teacher_maps):
        raise ValueError(
            f"energy geometry is of 2D maps of one batch; got student {tuple(student_maps.shape)}, teacher "
            f"{tuple(teacher_maps.shape)}"
        )
    size = [min(a, b) for a, b in zip(student_maps.shape[2:], teacher_maps.shape[2:], strict=True)]
    student = area_pool(energy_map(student_maps), size)
    teacher = area_pool(energy_map(teacher_maps.detach()), size)
    per_scale = [_orientation_gap(student, teacher, s) + _shape_gap(student, teacher, s) for s in sigmas]
    return torch.stack(per_scale).mean()


def _orientation_gap(student: Tensor, teacher: Tensor, sigma: float) -> Tensor:
    ours, _ = orientation_and_coherence(student, sigma)
    theirs, coherence = orientation_and_coherence(teacher, sigma)
    return _weighted((1 - (ours * theirs).sum(dim=1, keepdim=True)) / 2, coherence)


def _shape_gap(student: Tensor, teacher: Tensor, sigma: float) -> Tensor:
    gap = (shape_index(student, sigma) - shape_index(teacher, sigma)).square() / 4
    return _weighted(gap, curvedness(teacher, sigma))


def _weighted(gap: Tensor, weight: Tensor, eps: float = 1e-6) -> Tensor:
    sums = (gap * weight).sum(dim=(1, 2, 3)) / (weight.sum(dim=(1, 2, 3)) + eps)
    return sums.mean()


class EnergyGeometry(DistillationTerm):
    """``energy_geometry_loss`` between paired taps, averaged over the pairs.

    Args:
        sigmas: Scales in pixels of the maps.
    """

    wants: ClassVar[Literal["maps"]] = "maps"

    def __init__(self, sigmas: Sequence[float] = SIGMAS) -> None:
        super().__init__()
        if not sigmas or min(sigmas) <= 0:
            raise ValueError(f"sigmas are {list(sigmas)} pixels, at least one and all positive are wanted")
        self.sigmas = tuple(sigmas)

    def build(
        self, student_shapes: Sequence[torch.Size], teacher_shapes: Sequence[torch.Size], num_classes: int
    ) -> None:
        """Check the taps.

        Raises:
            ValueError: Not as many taps on both sides, maps that are not 2D, or of fewer than two pixels a side.
        """
        check_pairs(student_shapes, teacher_shapes)
        for shape in (*student_shapes, *teacher_shapes):
            if len(shape) != 3 or min(shape[1:]) < 2:
                raise ValueError(f"energy geometry wants 2D maps of at least 2 x 2, got {tuple(shape)}")

    def forward(self, inputs: DistillationInputs) -> Tensor:
        """Loss, a scalar, the mean over the pairs of taps."""
        pairs = zip(inputs.student_features, inputs.teacher_features, strict=True)
        return torch.stack([energy_geometry_loss(s, t, self.sigmas) for s, t in pairs]).mean()
