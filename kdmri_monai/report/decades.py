"""Logarithmic scales with numbers that are read at once: ``0.2``, ``5``, ``20 k``, ``3 M``."""

import math

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

PREFIXES = ((1e9, " G"), (1e6, " M"), (1e3, " k"))


def log_scale(axes: Axes, which: str) -> None:
    """Makes an axis logarithmic, with as many ticks as its present limits need.

    Args:
        axes: After its limits are set or its data are drawn.
        which: ``x`` or ``y``.
    """
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = sorted(axis.get_view_interval())
    decades = math.log10(high / low) if low > 0 else 0.0
    steps = (1, 2, 3, 4, 5, 7) if decades < 0.7 else (1, 2, 5) if decades < 2.5 else (1,)
    axis.set_major_locator(LogLocator(subs=steps, numticks=8 * len(steps)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def short(value: float) -> str:
    """A number with three digits and, from a thousand, a letter for its thousands."""
    for size, letter in PREFIXES:
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"
