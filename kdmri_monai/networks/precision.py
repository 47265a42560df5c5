"""Arithmetic in float32 or better, whatever autocast gave."""

from torch import Tensor


def at_least_float32(values: Tensor) -> Tensor:
    """The tensor itself in float32 or float64, else a float32 copy (half precision, integers, booleans)."""
    return values if values.is_floating_point() and values.element_size() >= 4 else values.float()
