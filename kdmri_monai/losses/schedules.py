"""Weights over time: functions of the epochs done (0 at the start, fractions within an epoch) that give 0..1."""

from dataclasses import dataclass
from math import cos, inf, pi
from typing import Protocol


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
