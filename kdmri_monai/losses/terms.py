"""What a distillation term is given, and what it is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class DistillationInputs:
    """One batch as both networks saw it, in float32.

    Attributes:
        student_logits: Shape ``(B, K)``.
        teacher_logits: Shape ``(B, K)``, without gradient; ``(0, K)`` where there is no teacher.
        labels: Classes, integers, shape ``(B,)``.
        student_features: Features of this term's taps: maps ``(B, C_l, H_l, W_l)``, finest first, or vectors
            ``(B, C_l)``.
        teacher_features: The same of the teacher, without gradient.
        batch: The batch after augmentation: ``image`` ``(B, C, H, W)``; where masks are loaded, ``mask``
            ``(B, 1, H, W)`` of 0 and 1 and ``has_mask`` ``(B,)`` of booleans; ``id``, ``patient``, ``family``.
    """

    student_logits: Tensor
    teacher_logits: Tensor
    labels: Tensor
    student_features: Sequence[Tensor] = ()
    teacher_features: Sequence[Tensor] = ()
    batch: Mapping[str, Any] = field(default_factory=dict)


class DistillationTerm(nn.Module, ABC):
    """A callable on ``DistillationInputs`` that gives one number; a module, because some terms learn.

    Attributes:
        wants: What it reads: ``logits`` only, ``maps`` ``(B, C, H, W)`` of the taps, or ``vectors``: features
            ``(B, C)``, to which maps are averaged.
        needs_teacher: False for a term that reads the student and the batch alone.
        taps_teacher: False for a term that reads the teacher's logits, but none of its features.
        needs_fit: Whether ``fit(embeddings, logits, labels)`` must be called with the teacher's answers to the training
            samples before the first batch, by ``FitTerms``.
        batch_keys: What it reads in the batch beside features, such as ``mask``.
        smallest_batch: Samples below which the term means nothing; such a batch passes without it.
        compares_channels: Whether a channel of the teacher must mean the same for all samples. It does not with
            teachers that take turns (cross-fitting), so they are refused for such a term.
    """

    wants: ClassVar[Literal["logits", "maps", "vectors"]] = "logits"
    needs_teacher: ClassVar[bool] = True
    taps_teacher: ClassVar[bool] = True
    needs_fit: ClassVar[bool] = False
    batch_keys: ClassVar[tuple[str, ...]] = ()
    smallest_batch: ClassVar[int] = 1
    compares_channels: ClassVar[bool] = False

    def build(
        self, student_shapes: Sequence[torch.Size], teacher_shapes: Sequence[torch.Size], num_classes: int
    ) -> None:
        """Make the layers that depend on the tapped networks; called once, before the optimiser exists.

        Args:
            student_shapes: Shapes ``(C, H, W)``, or ``(C,)`` of vectors, of the student's taps.
            teacher_shapes: The same of the teacher's taps.
            num_classes: Classes ``K`` of the logits.

        Raises:
            ValueError: The taps do not give what the term wants.
        """
        del student_shapes, teacher_shapes, num_classes

    @abstractmethod
    def forward(self, inputs: DistillationInputs) -> Tensor:
        """Value of the term, a scalar; the mean over the batch."""
