"""Terms on feature maps of several scales."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from kdmri_monai.losses.terms import DistillationInputs, DistillationTerm
from kdmri_monai.networks.fusion import get_fusion_layer
from kdmri_monai.networks.resampling import area_pool, channel_norm, match_size

POOLED_SIZES = (4, 2, 1)


def hcl_loss(student_maps: Sequence[Tensor], teacher_maps: Sequence[Tensor]) -> Tensor:
    """Hierarchical context loss: squared differences of maps at full size and pooled to 4 x 4, 2 x 2 and 1 x 1.

    For every scale ``sum_i w_i mean (pool_i(s) - pool_i(t))^2 / sum_i w_i`` with w = 1, 1/2, 1/4, 1/8 from full size
    on; sizes that are not below the map's own are left out. The result is the sum over the scales.

    Source: Chen et al., "Distilling Knowledge via Knowledge Review", CVPR 2021, section 3.4.

    Args:
        student_maps: Maps ``(B, C_l, H_l, W_l)``.
        teacher_maps: Maps of the same shapes; get no gradient.

    Returns:
        A scalar.

    Raises:
        ValueError: No maps, or shapes that differ.
    """
    shapes = [tuple(m.shape) for m in student_maps], [tuple(m.shape) for m in teacher_maps]
    if not student_maps or shapes[0] != shapes[1]:
        raise ValueError(f"student maps {shapes[0]} and teacher maps {shapes[1]} must be the same shapes")
    per_scale = [_context_loss(s, t.detach()) for s, t in zip(student_maps, teacher_maps, strict=True)]
    return torch.stack(per_scale).sum()


def _context_loss(student: Tensor, teacher: Tensor) -> Tensor:
    loss, weight, total = F.mse_loss(student, teacher), 1.0, 1.0
    for size in POOLED_SIZES:
        if size >= min(student.shape[2:]):
            continue
        weight /= 2
        total += weight
        grid = [size] * (student.ndim - 2)
        loss = loss + weight * F.mse_loss(area_pool(student, grid), area_pool(teacher, grid))
    return loss / total


class FusedFeatures(DistillationTerm):
    """The student's fused multi-scale features are drawn to the teacher's features, scale by scale (``hcl_loss``).

    All that learns stands on the student's side: its taps pass a ``Fusion`` layer that ends in the teacher's
    channels. The teacher's maps are normalised over the channels, without parameters, and brought to the student's
    size by area pooling, so that the pair cannot collapse.

    Args:
        fusion: Name of a fusion layer, or name and arguments.
    """

    wants: ClassVar[Literal["maps"]] = "maps"
    compares_channels: ClassVar[bool] = True

    def __init__(self, fusion: str | tuple[str, dict[str, Any]] = "abf") -> None:
        super().__init__()
        self.fusion_name = fusion
        self.fusion: torch.nn.Module | None = None

    def build(
        self, student_shapes: Sequence[torch.Size], teacher_shapes: Sequence[torch.Size], num_classes: int
    ) -> None:
        """Make the fusion layer.

        Raises:
            ValueError: No taps, or not as many on both sides.
        """
        if not student_shapes or len(student_shapes) != len(teacher_shapes):
            raise ValueError(
                "fused features want as many student taps as teacher taps, at least one; "
                f"got {[tuple(s) for s in student_shapes]} and {[tuple(s) for s in teacher_shapes]}"
            )
        self.fusion = get_fusion_layer(
            self.fusion_name,
            spatial_dims=len(student_shapes[0]) - 1,
            in_channels=[shape[0] for shape in student_shapes],
            out_channels=[shape[0] for shape in teacher_shapes],
        )

    def forward(self, inputs: DistillationInputs) -> Tensor:
        """Loss, a scalar.

        Raises:
            RuntimeError: ``build`` was not called.
        """
        if self.fusion is None:
            raise RuntimeError("FusedFeatures.build must be called with the shapes of the taps before the first batch")
        fused = self.fusion(list(inputs.student_features))
        targets = [
            match_size(channel_norm(teacher), student.shape[2:])
            for teacher, student in zip(inputs.teacher_features, fused, strict=True)
        ]
        return hcl_loss(fused, targets)
