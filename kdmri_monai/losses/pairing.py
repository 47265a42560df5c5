"""Student taps and teacher taps go one to one; a term over several pairs is their mean."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


def check_pairs(student_shapes: Sequence[torch.Size], teacher_shapes: Sequence[torch.Size]) -> None:
    """Refuse taps that do not pair one to one.

    Args:
        student_shapes: Shapes ``(C, *spatial)`` of the student's taps.
        teacher_shapes: The same of the teacher's.

    Raises:
        ValueError: No taps, or not as many on both sides.
    """
    if not student_shapes or len(student_shapes) != len(teacher_shapes):
        raise ValueError(
            "as many student taps as teacher taps are wanted, at least one; "
            f"got {[tuple(s) for s in student_shapes]} and {[tuple(s) for s in teacher_shapes]}"
        )


def check_map_pairs(student_shapes: Sequence[torch.Size], teacher_shapes: Sequence[torch.Size]) -> None:
    """``check_pairs``, and both of a pair must be maps of as many axes.

    Raises:
        ValueError: As for ``check_pairs``; a pair of 2D and 3D maps; vectors.
    """
    check_pairs(student_shapes, teacher_shapes)
    for student, teacher in zip(student_shapes, teacher_shapes, strict=True):
        if len(student) != len(teacher) or len(student) < 2:
            raise ValueError(f"maps of as many axes are wanted; got {tuple(student)} and {tuple(teacher)}")


def check_batch(student: Tensor, teacher: Tensor, smallest: int = 1) -> None:
    """Refuse features of different samples, or of too few.

    Args:
        student: Features, shape ``(B, ...)``.
        teacher: Features, shape ``(B, ...)``.
        smallest: Samples that are needed.

    Raises:
        ValueError: The batches differ in size, or hold fewer than ``smallest`` samples.
    """
    if len(student) != len(teacher):
        raise ValueError(f"features of {len(student)} samples of the student and {len(teacher)} of the teacher")
    if len(student) < smallest:
        raise ValueError(f"a batch of {len(student)} is too small, this term compares {smallest} samples or more")


def check_same_shape(student: Tensor, teacher: Tensor) -> None:
    """Refuse projected features that are not of the teacher's shape.

    Raises:
        ValueError: The shapes differ.
    """
    if student.shape != teacher.shape:
        raise ValueError(f"student features {tuple(student.shape)}, teacher features {tuple(teacher.shape)}")


def smaller_size(student: Tensor, teacher: Tensor) -> tuple[int, ...]:
    """Spatial size to which both maps ``(B, C, *spatial)`` can be area-pooled: the smaller one of every axis.

    Raises:
        ValueError: The maps have not as many axes, or the features are vectors.
    """
    if student.ndim != teacher.ndim or student.ndim < 3:
        raise ValueError(f"maps of as many axes are wanted; got {tuple(student.shape)} and {tuple(teacher.shape)}")
    return tuple(min(sizes) for sizes in zip(student.shape[2:], teacher.shape[2:], strict=True))


def projected(projectors: nn.ModuleList, features: Sequence[Tensor], owner: nn.Module) -> list[Tensor]:
    """Features through the projector of their tap.

    Raises:
        RuntimeError: The projectors of ``owner`` were not built.
    """
    if len(projectors) != len(features):
        raise RuntimeError(f"{type(owner).__name__}.build must be called with the shapes of the taps before a batch")
    return [projector(feature) for projector, feature in zip(projectors, features, strict=True)]


def mean_over_pairs(
    loss: Callable[[Tensor, Tensor], Tensor], student: Sequence[Tensor], teacher: Sequence[Tensor]
) -> Tensor:
    """Mean of ``loss(student_l, teacher_l)``, so that a weight means the same for one tap and for three."""
    return torch.stack([loss(s, t) for s, t in zip(student, teacher, strict=True)]).mean()
