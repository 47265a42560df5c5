"""Redundancy suppression: one channel of the student follows each channel of the teacher, and no other does."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from kdmri_monai.losses.pairing import check_batch, check_pairs, check_same_shape, mean_over_pairs, projected
from kdmri_monai.losses.projectors import mlp_projector
from kdmri_monai.losses.terms import DistillationInputs, DistillationTerm
from kdmri_monai.networks.precision import at_least_float32
from kdmri_monai.networks.resampling import pooled

VARIANCE_FLOOR = 1e-6


def rsd_loss(student: Tensor, teacher: Tensor, kappa: float = 0.01) -> Tensor:
    """Distance of the cross-correlation of teacher and student channels from the identity.

    ``1/D [sum_i (C_ii - 1)^2 + kappa sum_{i != j} C_ij^2]`` with ``C = zn(t)' zn(s) / B``; ``zn`` is the z-norm of a
    channel over the batch, ``(x - mean) / sqrt(var + 1e-6)``. A channel of the teacher that is constant over the batch
    has ``C_ii = 0`` and no gradient.

    Source: Zhang et al., "Cross-Architecture Distillation Made Simple with Redundancy Suppression", ICCV 2025,
    section 3. Differs: divided by D, so that the weight does not depend on the teacher's width (the published sum is
    weighted by 0.1).

    Args:
        student: Projected features, shape ``(B, D)``.
        teacher: Features, shape ``(B, D)``; get no gradient.
        kappa: Weight of the pairs of different channels.

    Returns:
        A scalar.

    Raises:
        ValueError: The shapes differ, fewer than two samples, or a negative ``kappa``.
    """
    check_batch(student, teacher, smallest=2)
    check_same_shape(student, teacher)
    _check_kappa(kappa)
    correlation = _z_norm(teacher.detach()).T @ _z_norm(student) / len(student)
    own = correlation.diagonal()
    other = correlation.square().sum() - own.square().sum()
    return ((own - 1).square().sum() + kappa * other) / len(own)


def _z_norm(features: Tensor) -> Tensor:
    features = at_least_float32(features)
    centred = features - features.mean(dim=0)
    return centred / (centred.square().mean(dim=0) + VARIANCE_FLOOR).sqrt()


def _check_kappa(kappa: float) -> None:
    if kappa < 0:
        raise ValueError(f"kappa is {kappa}, it must not be negative")


class FixedMixing(nn.Module):
    """Fewer channels by a random orthogonal projection that does not learn and is the same for every run.

    It keeps lengths and angles as well as a random projection can, without a preferred channel.

    Args:
        in_channels: Channels of the vectors.
        out_channels: Channels wanted; where they are not fewer, the vectors stay as they are.
    """

    matrix: Tensor

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.reduces = out_channels < in_channels
        generator = torch.Generator().manual_seed(0)
        random = torch.randn(in_channels, out_channels, generator=generator, dtype=torch.float64)
        self.register_buffer("matrix", torch.linalg.qr(random).Q.float() if self.reduces else torch.empty(0))

    def forward(self, vectors: Tensor) -> Tensor:
        """Vectors ``(B, min(in_channels, out_channels))`` for vectors ``(B, in_channels)``."""
        return vectors @ self.matrix if self.reduces else vectors


class RedundancySuppression(DistillationTerm):
    """``rsd_loss`` behind an MLP on the student's side; maps are averaged over space, pairs of taps are averaged.

    Teacher features of more than ``max_channels`` channels are brought to that number by ``FixedMixing``, which is kept
    in the checkpoint: C would otherwise have far more entries than a batch can estimate.

    Args:
        kappa: Weight of the pairs of different channels.
        max_channels: Largest ``D``.
    """

    wants: ClassVar[Literal["vectors"]] = "vectors"
    smallest_batch: ClassVar[int] = 2
    compares_channels: ClassVar[bool] = True

    def __init__(self, kappa: float = 0.01, max_channels: int = 256) -> None:
        super().__init__()
        _check_kappa(kappa)
        if max_channels < 2:
            raise ValueError(f"max_channels is {max_channels}, decorrelation needs at least 2")
        self.kappa = kappa
        self.max_channels = max_channels
        self.projectors = nn.ModuleList()
        self.mixing = nn.ModuleList()

    def build(
        self, student_shapes: Sequence[torch.Size], teacher_shapes: Sequence[torch.Size], num_classes: int
    ) -> None:
        """Make a projector for every pair of taps.

        Raises:
            ValueError: No taps, or not as many on both sides.
        """
        check_pairs(student_shapes, teacher_shapes)
        widths = [min(shape[0], self.max_channels) for shape in teacher_shapes]
        self.projectors = nn.ModuleList(
            mlp_projector(shape[0], width) for shape, width in zip(student_shapes, widths, strict=True)
        )
        self.mixing = nn.ModuleList(
            FixedMixing(shape[0], width) for shape, width in zip(teacher_shapes, widths, strict=True)
        )

    def forward(self, inputs: DistillationInputs) -> Tensor:
        """Loss, a scalar.

        Raises:
            RuntimeError: ``build`` was not called.
            ValueError: Fewer than two samples.
        """
        vectors = [pooled(at_least_float32(feature)) for feature in inputs.student_features]
        targets = [pooled(at_least_float32(feature)) for feature in inputs.teacher_features]
        for vector, target in zip(vectors, targets, strict=True):
            check_batch(vector, target, smallest=2)  # before the batch norm of the projector complains in other words
        student, teacher = projected(self.projectors, vectors, self), projected(self.mixing, targets, self)
        return mean_over_pairs(lambda s, t: rsd_loss(s, t, self.kappa), student, teacher)
