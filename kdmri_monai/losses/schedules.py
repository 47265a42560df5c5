"""Weights over time: functions of the epochs done (0 at the start, fractions within an epoch) that give 0..1."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import cos, inf, pi
from typing import Any, Protocol


class Schedule(Protocol):
    """Anything that gives a factor 0..1 for the epochs done."""

    def __call__(self, epoch: float) -> float:
        """Factor after ``epoch`` epochs."""


@dataclass(frozen=True)
class Constant:
    """One from epoch ``start`` on, zero from epoch ``stop`` on."""

    start: float = 0.0
    stop: float = inf

    def __call__(self, epoch: float) -> float:
        """Factor after ``epoch`` epochs."""
        return 1.0 if self.start <= epoch < self.stop else 0.0


@dataclass(frozen=True)
class LinearRamp:
    """Rises from zero at epoch ``start`` to one within ``epochs``, zero again from epoch ``stop`` on.

    Raises:
        ValueError: ``epochs`` is not positive.
    """

    epochs: float
    start: float = 0.0
    stop: float = inf

    def __post_init__(self) -> None:
        if self.epochs <= 0:
            raise ValueError(f"a ramp over {self.epochs} epochs is none: give a positive number")

    def __call__(self, epoch: float) -> float:
        """Factor after ``epoch`` epochs."""
        if epoch >= self.stop:
            return 0.0
        return min(max((epoch - self.start) / self.epochs, 0.0), 1.0)


@dataclass(frozen=True)
class CosineRamp(LinearRamp):
    """As ``LinearRamp``, with half a cosine wave in place of the line."""

    def __call__(self, epoch: float) -> float:
        """Factor after ``epoch`` epochs."""
        return 0.5 - 0.5 * cos(pi * super().__call__(epoch))


_SHAPES = {"constant": Constant, "linear": LinearRamp, "cosine": CosineRamp}


def make_schedule(spec: Schedule | Mapping[str, Any] | str | None) -> Schedule:
    """A schedule from its shape and fields, as a configuration gives them.

    Args:
        spec: A schedule; ``None`` for a constant one; a shape ``constant``, ``linear`` or ``cosine``; or a mapping with
            ``shape`` and the fields of that schedule: ``start``, ``stop`` and, for ramps, ``epochs``.

    Raises:
        ValueError: An unknown shape, or fields that this shape does not have.

    Example:
        >>> make_schedule({"shape": "cosine", "start": 5, "epochs": 20})(15.0)
        0.5
    """
    if spec is None:
        return Constant()
    if not isinstance(spec, (str, Mapping)):
        return spec
    fields = {"shape": spec} if isinstance(spec, str) else dict(spec)
    shape = fields.pop("shape", "constant")
    if shape not in _SHAPES:
        raise ValueError(f"schedule of shape {shape!r}; known are {', '.join(_SHAPES)}")
    try:
        return _SHAPES[shape](**{name: value for name, value in fields.items() if value is not None})
    except TypeError as error:
        raise ValueError(f"schedule {dict(fields)} of shape {shape}: {error}") from error
