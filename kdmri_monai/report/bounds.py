"""Numbers with bounds, whatever form they come in, as a triple and as words."""

import math
from collections.abc import Mapping
from typing import Any

from kdmri_monai.evaluation.intervals import Interval
from kdmri_monai.report.number_words import Bounded, in_words
from kdmri_monai.report.page_model import Cell

Number = Interval | Mapping[str, Any] | Bounded
NOTHING: Bounded = (math.nan, math.nan, math.nan)


def bounded(number: Number | None) -> Bounded:
    """Value, lower and upper bound; NaN for what is ``None``.

    Args:
        number: An interval, ``{"value", "low", "high"}`` of a file, or the three numbers.
    """
    if number is None:
        return NOTHING
    if isinstance(number, Interval):
        return number.estimate, number.low, number.high
    parts = [number.get(key) for key in ("value", "low", "high")] if isinstance(number, Mapping) else number
    value, low, high = (math.nan if part is None else float(part) for part in parts)
    return value, low, high


def percent(number: Number | None, signed: bool = False, digits: int = 1) -> str:
    """``81.4 (70.1–89.2)``, in per cent without the sign; differences as ``−1.5 (−4.5 to +1.0)``."""
    return in_words(bounded(number), 100, digits, signed)


def plain(number: Number | None, digits: int = 2, signed: bool = False) -> str:
    """``2.03 (1.70–2.31)``."""
    return in_words(bounded(number), 1, digits, signed)


def percent_cell(number: Number | None, signed: bool = False, mark: Any = "") -> Cell:
    """A cell that is sorted by the value."""
    return Cell(percent(number, signed), sort=bounded(number)[0], mark=mark)


def plain_cell(number: Number | None, digits: int = 2, mark: Any = "") -> Cell:
    """As ``percent_cell``, without the factor."""
    return Cell(plain(number, digits), sort=bounded(number)[0], mark=mark)


def excludes_zero(number: Number | None) -> bool:
    """Whether both bounds lie on one side of zero."""
    _, low, high = bounded(number)
    return low > 0 or high < 0
