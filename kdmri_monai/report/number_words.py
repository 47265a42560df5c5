"""Numbers with bounds as words: ``91.2 (88.1–94.0)``."""

import math

Bounded = tuple[float, float, float]
"""A value, its lower and its upper bound; a bound that is not defined is NaN."""

DASH = "\N{EN DASH}"


def in_words(number: Bounded, scale: float = 1.0, digits: int = 2, signed: bool = False) -> str:
    """A number and, in brackets, its bounds.

    Args:
        number: Value and bounds.
        scale: Factor, 100 for percent.
        digits: Digits after the point.
        signed: Whether a positive number has its sign, as differences do; the bounds are then joined by "to".

    Returns:
        Without bounds where one of them is NaN; an en dash where the value is NaN.
    """
    value, low, high = (_plain(part, scale, digits, signed) for part in number)
    if any(math.isnan(bound) for bound in number[1:]):
        return value
    return f"{value} ({low} to {high})" if signed else f"{value} ({low}{DASH}{high})"


def _plain(value: float, scale: float, digits: int, signed: bool) -> str:
    if math.isnan(value):
        return DASH
    rounded = round(scale * value, digits) + 0.0  # no minus before a zero
    return f"{rounded:{'+' if signed and rounded else ''}.{digits}f}".replace("-", "\N{MINUS SIGN}")
