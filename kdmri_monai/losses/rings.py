"""What the features say in every ring of the tumour: core, rim, its surroundings, the rest.

Source: after Cheng et al., "Enhanced Performance of Brain Tumor Classification via Tumor Region Augmentation and
Partition", PLOS ONE 2015, section 2.3, whose descriptors of rings are matched here between student and teacher.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from kdmri_monai.losses.directions import unit_vectors
from kdmri_monai.losses.pairing import check_map_pairs, check_same_shape, projected
from kdmri_monai.losses.projectors import pointwise_projector
from kdmri_monai.losses.terms import DistillationInputs, DistillationTerm
from kdmri_monai.networks.geometry.distance import signed_distance
from kdmri_monai.networks.geometry.rings import relative_rings
from kdmri_monai.networks.precision import at_least_float32
from kdmri_monai.networks.resampling import match_size


def ring_descriptors(maps: Tensor, rings: Tensor) -> Tensor:
    """Mean feature vector of every ring, the memberships area-pooled to the size of the maps.

    Args:
        maps: Maps, shape ``(B, C, *spatial)``.
        rings: Memberships 0..1, shape ``(B, R, *spatial')``.

    Returns:
        Descriptors, shape ``(B, R, C)``; a ring without pixels gives zeros.

    Raises:
        ValueError: Batches or axes differ.
    """
    if len(maps) != len(rings) or maps.ndim != rings.ndim:
        raise ValueError(f"maps {tuple(maps.shape)} and rings {tuple(rings.shape)} must have the same batch and axes")
    maps = at_least_float32(maps)
    weights = match_size(rings.to(maps.dtype), maps.shape[2:]).flatten(start_dim=2)
    total = weights.sum(dim=2, keepdim=True)
    return weights / torch.where(total > 0, total, 1.0) @ maps.flatten(start_dim=2).transpose(1, 2)


def ring_cosine_loss(student: Tensor, teacher: Tensor, present: Tensor) -> Tensor:
    """``1 - cos`` of student and teacher descriptors, the mean over all rings that are present in the batch.

    Args:
        student: Projected descriptors, shape ``(B, R, D)``.
        teacher: Descriptors, shape ``(B, R, D)``; get no gradient.
        present: Rings that count, booleans, shape ``(B, R)``.

    Returns:
        A scalar in 0..2; zero, with gradient zero, where no ring is present.

    Raises:
        ValueError: The shapes differ.
    """
    check_same_shape(student, teacher)
    cosines = (_directions(student) * _directions(teacher.detach())).sum(dim=2)
    return _mean_where(1 - cosines, present)


def ring_relation_loss(student: Tensor, teacher: Tensor, present: Tensor) -> Tensor:
    """Squared difference of the ring-by-ring cosine matrices, the mean over pairs of different rings that are present.

    Args:
        student: Descriptors, shape ``(B, R, C)``.
        teacher: Descriptors, shape ``(B, R, C')``; get no gradient.
        present: Rings that count, booleans, shape ``(B, R)``.

    Returns:
        A scalar in 0..4; zero, with gradient zero, where no pair is present.

    Raises:
        ValueError: Batches or numbers of rings differ.
    """
    check_same_shape(student[..., 0], teacher[..., 0])
    ours, theirs = _directions(student), _directions(teacher.detach())
    difference = ours @ ours.transpose(1, 2) - theirs @ theirs.transpose(1, 2)
    different = ~torch.eye(present.shape[1], dtype=torch.bool, device=present.device)
    return _mean_where(difference.square(), present[:, :, None] & present[:, None, :] & different)


def _directions(descriptors: Tensor) -> Tensor:
    return unit_vectors(at_least_float32(descriptors))


def _mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    return torch.where(chosen, values, 0.0).sum() / chosen.sum().clamp_min(1)


@torch.no_grad()
def batch_rings(batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Rings of the tumours of a batch and which of them hold pixels.

    Args:
        batch: Holds ``mask``, shape ``(B, 1, *spatial)``, and may hold ``has_mask``, booleans ``(B,)``.

    Returns:
        Memberships, shape ``(B, 5, *spatial)``, as ``relative_rings`` gives them; and booleans ``(B, 5)``, False for
        all rings of a sample that has no mask or an empty one.

    Raises:
        ValueError: There is no key ``mask``.
    """
    if "mask" not in batch:
        raise ValueError("rings need the tumour's mask, but the batch has no key 'mask': load the masks")
    inside = batch["mask"] > 0.5
    known = torch.as_tensor(batch.get("has_mask", True), device=inside.device)
    rings = relative_rings(signed_distance(inside, limit=_reach(inside)))
    usable = known & inside.flatten(start_dim=1).any(dim=1)
    return rings, (rings > 0).flatten(start_dim=2).any(dim=2) & usable[:, None]


def _reach(inside: Tensor) -> int:
    """A distance that no ring's edge exceeds, so that the rest, most of the image, need not be measured.

    The farthest edge is twice the tumour's depth, and the depth is at most the number of rows that hold tumour, along
    any axis.
    """
    axes = range(2, inside.ndim)
    rows = [inside.any(dim=[1, *(other for other in axes if other != axis)]).sum(dim=1) for axis in axes]
    return max(1, 2 * int(torch.stack(rows).amin(dim=0).max()))


class TumourRings(DistillationTerm):
    """Descriptors of the tumour's rings are drawn to the teacher's, and so are the similarities between rings.

    The sum of ``ring_cosine_loss`` behind a linear map on the student's side and ``ring_relation_loss``, which needs
    none; averaged over the pairs of taps. The linear map acts on descriptors, which is the same as a 1x1 convolution of
    the maps. Samples without a mask and rings without pixels are left out; a batch without any gives zero. Masks are
    read by the loss only, never by the student. Works in 2D and 3D.

    Args:
        cosine_weight: Weight of the descriptors.
        relation_weight: Weight of the similarities between rings.
    """

    batch_keys: ClassVar[tuple[str, ...]] = ("mask",)
    wants: ClassVar[Literal["maps"]] = "maps"
    compares_channels: ClassVar[bool] = True

    def __init__(self, cosine_weight: float = 1.0, relation_weight: float = 1.0) -> None:
        super().__init__()
        if cosine_weight < 0 or relation_weight < 0:
            raise ValueError(f"weights of cosine {cosine_weight} and relation {relation_weight} must not be negative")
        self.cosine_weight = cosine_weight
        self.relation_weight = relation_weight
        self.projectors = nn.ModuleList()

    def build(
        self, student_shapes: Sequence[torch.Size], teacher_shapes: Sequence[torch.Size], num_classes: int
    ) -> None:
        """Make a projector for every pair of taps.

        Raises:
            ValueError: The taps do not pair, or are no maps of as many axes.
        """
        check_map_pairs(student_shapes, teacher_shapes)
        self.projectors = nn.ModuleList(
            pointwise_projector(student[0], teacher[0], spatial_dims=0)
            for student, teacher in zip(student_shapes, teacher_shapes, strict=True)
        )

    def forward(self, inputs: DistillationInputs) -> Tensor:
        """Loss, a scalar.

        Raises:
            RuntimeError: ``build`` was not called.
            ValueError: The batch holds no key ``mask``.
        """
        rings, present = batch_rings(inputs.batch)
        student = [ring_descriptors(maps, rings) for maps in inputs.student_features]
        teacher = [ring_descriptors(maps, rings) for maps in inputs.teacher_features]
        losses = [
            self.cosine_weight * ring_cosine_loss(learned, theirs, present)
            + self.relation_weight * ring_relation_loss(ours, theirs, present)
            for learned, ours, theirs in zip(projected(self.projectors, student, self), student, teacher, strict=True)
        ]
        return torch.stack(losses).mean()
