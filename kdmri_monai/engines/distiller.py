"""Everything of a distillation that is neither student nor teacher: taps, terms and what the terms learn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from kdmri_monai.engines.teacher_reading import TeacherReader
from kdmri_monai.engines.term_wiring import Wiring, wire_terms
from kdmri_monai.losses.terms import DistillationInputs
from kdmri_monai.losses.weighting import WeightedTerm
from kdmri_monai.networks.taps import FeatureTaps, TapSpec


@dataclass(frozen=True)
class TermValues:
    """Result of all terms on one batch.

    Attributes:
        total: Weighted sum, a scalar with gradient.
        raw: Value of every term without its weight, detached scalars by name.
        weighted: The same times the weights of the moment, with gradient where the weight is not zero.
    """

    total: Tensor
    raw: dict[str, Tensor]
    weighted: dict[str, Tensor]


class Distiller(nn.Module):
    """Taps both networks and sums the weighted terms; holds only what the terms learn, neither network.

    Its parameters belong in the optimiser and in the resume checkpoint, and in no exported student. Without a teacher
    it serves terms that need none, such as ``geometry``.

    Args:
        student: Network whose features the terms may use; not registered as a submodule.
        teacher: The same for the teacher; ``None`` where no term needs one.
        terms: Terms with their weights, or mappings with the fields of ``WeightedTerm``; the names must differ.
        student_taps: Where the student is read by terms that do not say it themselves, finest map first.
        teacher_taps: Where the teacher is read, in the same order.
        image_shape: Channels and spatial size of one image, for the dry run that finds the shapes.
        teacher_temperature: The teacher's logits are divided by it before any term sees them (``fit_temperature``).

    Raises:
        ValueError: No term, two terms of one name, an unknown tap, a term that the taps do not serve, or a term that
            needs a teacher where there is none.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | None,
        terms: Sequence[WeightedTerm | Mapping[str, Any]],
        student_taps: Sequence[TapSpec] = (),
        teacher_taps: Sequence[TapSpec] = (),
        image_shape: Sequence[int] = (1, 128, 128),
        teacher_temperature: float = 1.0,
    ) -> None:
        super().__init__()
        made = [term if isinstance(term, WeightedTerm) else WeightedTerm(**term) for term in terms]
        names = [term.name for term in made]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"terms need names of their own, at least one; got {names}")
        self.terms = nn.ModuleDict({term.name: term for term in made})
        wiring = wire_terms(student, teacher, made, student_taps, teacher_taps, image_shape)
        self._places: dict[str, Wiring] = wiring.places
        self.student_taps = FeatureTaps(student, wiring.student_taps, image_shape)
        self.read_teacher: TeacherReader | None = None
        if teacher is not None:
            self.read_teacher = TeacherReader(
                teacher, wiring.teacher_taps, temperature=teacher_temperature, image_shape=image_shape
            )
        self.to(next(student.parameters()).device)

    def forward(self, inputs: DistillationInputs, epoch: float) -> TermValues:
        """Values of all terms after ``epoch`` epochs; a term of weight zero is measured without gradient.

        Args:
            inputs: The batch; its features are those of ``student_taps`` and of the teacher's reader, in their order.
            epoch: Epochs done, fractions within one.
        """
        raw, weighted = {}, {}
        taught = _without_erased(inputs)
        total = torch.zeros((), device=inputs.student_logits.device)
        for name, term in self.terms.items():
            assert isinstance(term, WeightedTerm)
            weight = term.weight_at(epoch)
            with torch.set_grad_enabled(torch.is_grad_enabled() and weight > 0):
                value = self._value_of(term, taught if term.term.needs_teacher else inputs)
            raw[name] = value.detach()
            weighted[name] = weight * value
            if weight > 0:
                total = total + weighted[name]
        return TermValues(total, raw, weighted)

    def wanting(self, key: str) -> list[str]:
        """Names of the terms that read a key of the batch, and the teacher's class if it does."""
        names = [f"`{name}`" for name, term in self.terms.items() if key in term.term.batch_keys]  # type: ignore[union-attr,operator]
        teacher = self.read_teacher.teacher if self.read_teacher is not None else None
        return names + ([type(teacher).__name__] if key in getattr(teacher, "privileged_keys", ()) else [])

    def teacher_places(self, name: str) -> tuple[int, ...]:
        """Which of the teacher's features, as its reader gives them, belong to a term."""
        return self._places[name].teacher

    def _value_of(self, term: WeightedTerm, inputs: DistillationInputs) -> Tensor:
        if len(inputs.labels) < term.term.smallest_batch:
            return torch.zeros((), device=inputs.student_logits.device)
        value: Tensor = term(self._inputs_of(term.name, inputs))
        return value

    def _inputs_of(self, name: str, inputs: DistillationInputs) -> DistillationInputs:
        places = self._places[name]
        return replace(
            inputs,
            student_features=[inputs.student_features[place] for place in places.student],
            teacher_features=[inputs.teacher_features[place] for place in places.teacher],
        )


def _without_erased(inputs: DistillationInputs) -> DistillationInputs:
    """The samples whose tumour was not erased: of the others a teacher that was not trained so knows nothing."""
    erased = inputs.batch.get("erased")
    if erased is None or not bool(erased.any()):
        return inputs
    kept = (~erased).nonzero().flatten()

    def chosen(value: Any) -> Any:
        if isinstance(value, Tensor) and value.ndim and len(value) == len(erased):
            return value[kept]
        if isinstance(value, (list, tuple)) and len(value) == len(erased):
            return [value[place] for place in kept.tolist()]
        return value

    return replace(
        inputs,
        student_logits=chosen(inputs.student_logits),
        teacher_logits=chosen(inputs.teacher_logits),
        labels=chosen(inputs.labels),
        student_features=[chosen(feature) for feature in inputs.student_features],
        teacher_features=[chosen(feature) for feature in inputs.teacher_features],
        batch={key: chosen(value) for key, value in inputs.batch.items()},
    )
