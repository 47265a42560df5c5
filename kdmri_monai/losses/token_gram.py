"""Similarities of the tokens of one image: which places look alike, whatever the channels mean."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from kdmri_monai.losses.directions import lengths, unit_vectors
from kdmri_monai.losses.pairing import check_batch, check_map_pairs, mean_over_pairs, smaller_size
from kdmri_monai.losses.terms import DistillationInputs, DistillationTerm
from kdmri_monai.networks.precision import at_least_float32
from kdmri_monai.networks.resampling import match_size

SHORT = 1e-3


def token_gram_loss(student: Tensor, teacher: Tensor, grids: Sequence[int] = (7, 4)) -> Tensor:
    """Mean squared difference of the token-by-token cosine matrices, at several resolutions.

    For every ``g`` both maps are area-pooled to ``g`` cells an axis; ``S_ij`` is the cosine of tokens i and j, and the
    loss ``mean_ij (S^s_ij - S^t_ij)^2``, averaged over the grids and the batch. A grid that is larger than the smaller
    map in any axis is left out; if none remains, the smaller size of every axis is the grid. Tokens shorter than a
    thousandth of their image's root mean square length are divided by that length: dead background tokens then have
    cosines near 0 and gradients that stay bounded.

    Source: after Tung and Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019, equations 2-4.
    Differs: tokens of one image in place of images of one batch.

    Args:
        student: Maps ``(B, C, *spatial)``.
        teacher: Maps ``(B, C', *spatial')`` with as many axes; get no gradient.
        grids: Cells an axis.

    Returns:
        A scalar in 0..4.

    Raises:
        ValueError: Maps of different axes or batches, or a grid below 1.
    """
    check_batch(student, teacher)
    _check_grids(grids)
    size = smaller_size(student, teacher)
    fitting = [[grid] * len(size) for grid in grids if grid <= min(size)] or [list(size)]
    student, teacher = at_least_float32(student), at_least_float32(teacher.detach())
    differences = [token_cosines(match_size(student, g)) - token_cosines(match_size(teacher, g)) for g in fitting]
    return torch.stack([difference.square().mean() for difference in differences]).mean()


def token_cosines(maps: Tensor) -> Tensor:
    """Cosines of all pairs of tokens, shape ``(B, L, L)`` for maps ``(B, C, *spatial)`` of L positions."""
    tokens = maps.flatten(start_dim=2).transpose(1, 2)
    floor = SHORT * lengths(tokens.detach()).square().mean(dim=1, keepdim=True).sqrt()
    unit = unit_vectors(tokens, floor=floor.clamp_min(1e-12))
    return unit @ unit.transpose(1, 2)


def _check_grids(grids: Sequence[int]) -> None:
    if not grids or min(grids) < 1:
        raise ValueError(f"grids are {tuple(grids)}, at least one of 1 or more cells an axis is wanted")


class TokenGram(DistillationTerm):
    """``token_gram_loss`` of taps paired one to one, averaged over the pairs; learns nothing, 2D and 3D.

    Args:
        grids: Cells an axis.
    """

    wants: ClassVar[Literal["maps"]] = "maps"

    def __init__(self, grids: Sequence[int] = (7, 4)) -> None:
        super().__init__()
        _check_grids(grids)
        self.grids = tuple(grids)

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
        return mean_over_pairs(
            lambda s, t: token_gram_loss(s, t, self.grids), inputs.student_features, inputs.teacher_features
        )
