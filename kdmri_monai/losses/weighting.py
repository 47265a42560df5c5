"""A term as it stands in a list of terms: name, weight, schedule, taps, arguments."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from kdmri_monai.losses.catalogue import Terms
from kdmri_monai.losses.schedules import Schedule, make_schedule
from kdmri_monai.losses.terms import DistillationInputs, DistillationTerm
from kdmri_monai.networks.taps import TapSpec

_SIDES = ("student", "teacher")


class WeightedTerm(nn.Module):
    """A named term with its weight, which may change over the epochs, and its own taps.

    Args:
        name: Name under which the term is logged.
        term: The term, or its name in ``Terms``; by default ``name`` is that too.
        weight: Factor at full strength.
        schedule: Factor over time, 0..1: a ``Schedule`` or what ``make_schedule`` takes; constant by default.
        taps: Where the term reads: ``{"student": [...], "teacher": [...]}``; a side that is not named is read where the
            distiller says.
        arguments: Arguments of the term, where it is given by name.

    Raises:
        ValueError: A negative weight, a term that does not exist, arguments beside a term that is already made, or taps
            of another side.

    Example:
        >>> WeightedTerm("hcl", weight=0.5, schedule={"shape": "linear", "epochs": 20}, arguments={"fusion": "bifpn"})
    """

    def __init__(
        self,
        name: str,
        term: DistillationTerm | str | None = None,
        weight: float = 1.0,
        schedule: Schedule | Mapping[str, Any] | str | None = None,
        taps: Mapping[str, Sequence[TapSpec]] | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if weight < 0:
            raise ValueError(f"weight of {name} is {weight}, it must not be negative")
        if unknown := set(taps or {}) - set(_SIDES):
            raise ValueError(f"taps of {name} name {sorted(unknown)}; the sides are {list(_SIDES)}")
        self.name = name
        self.term = _made(name, term, arguments)
        self.weight = weight
        self.schedule = make_schedule(schedule)
        self.taps = {side: tuple(specs) for side, specs in (taps or {}).items()}

    def weight_at(self, epoch: float) -> float:
        """Weight after ``epoch`` epochs, which may be a fraction."""
        return self.weight * self.schedule(epoch)

    def forward(self, inputs: DistillationInputs) -> Tensor:
        """Raw value of the term, without its weight."""
        value: Tensor = self.term(inputs)
        return value


def _made(name: str, term: DistillationTerm | str | None, arguments: Mapping[str, Any] | None) -> DistillationTerm:
    if isinstance(term, DistillationTerm):
        if arguments:
            raise ValueError(f"{name}: arguments {sorted(arguments)} came beside a term that is already made")
        return term
    kind = term or name
    if kind.upper() not in Terms.names:
        known = ", ".join(known.lower() for known in Terms.names)
        raise ValueError(f"there is no term {kind!r}; known are {known}. Give term= where the name is your own")
    try:
        made: DistillationTerm = Terms[kind](**(arguments or {}))
    except TypeError as error:
        raise ValueError(f"term {name} ({kind}): {error}") from error
    return made
