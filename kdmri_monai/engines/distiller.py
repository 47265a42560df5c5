"""Everything of a distillation that is neither student nor teacher: taps, terms and what the terms learn."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdmri_monai.losses.terms import DistillationInputs, WeightedTerm
from kdmri_monai.networks.taps import FeatureTaps, TapSpec, tap_shapes


@dataclass(frozen=True)
class TermValues:
    """Result of all terms on one batch.

    Attributes:
        total: Weighted sum, a scalar with gradient.
        raw: Value of every term without its weight, detached scalars by name.
        weighted: The same times the weights of the moment.
    """

    total: Tensor
    raw: dict[str, Tensor]
    weighted: dict[str, Tensor]


class Distiller(nn.Module):
    """Taps both networks and sums the weighted terms; holds only what the terms learn, neither network.

    Its parameters belong in the optimiser and in the resume checkpoint, and in no exported student.

    Args:
        student: Network whose features the terms may use; not registered as a submodule.
        teacher: The same for the teacher.
        terms: Terms with their weights; the names must differ.
        student_taps: Where the student is read, finest map first.
        teacher_taps: Where the teacher is read, in the same order.
        image_shape: Channels and spatial size of one image, for the dry run that finds the shapes.

    Raises:
        ValueError: No term, two terms of one name, an unknown tap, or a term that the taps do not serve.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        terms: Sequence[WeightedTerm],
        student_taps: Sequence[TapSpec] = (),
        teacher_taps: Sequence[TapSpec] = (),
        image_shape: Sequence[int] = (1, 128, 128),
    ) -> None:
        super().__init__()
        names = [term.name for term in terms]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"terms need names of their own, at least one; got {names}")
        self.terms = nn.ModuleDict({term.name: term for term in terms})
        self.student_taps = FeatureTaps(student, student_taps)
        self.teacher_taps = FeatureTaps(teacher, teacher_taps)
        student_shapes = tap_shapes(student, student_taps, image_shape)
        teacher_shapes = tap_shapes(teacher, teacher_taps, image_shape)
        for term in terms:
            term.term.build(student_shapes, teacher_shapes)
        self.to(next(student.parameters()).device)

    def forward(self, inputs: DistillationInputs, epoch: float) -> TermValues:
        """Values of all terms after ``epoch`` epochs; a term of weight zero is measured without gradient."""
        raw, weighted = {}, {}
        total = torch.zeros((), device=inputs.student_logits.device)
        for name, term in self.terms.items():
            assert isinstance(term, WeightedTerm)
            weight = term.weight_at(epoch)
            with torch.set_grad_enabled(torch.is_grad_enabled() and weight > 0):
                value = term(inputs)
            if weight > 0:
                total = total + weight * value
            raw[name] = value.detach()
            weighted[name] = weight * value.detach()
        return TermValues(total, raw, weighted)
