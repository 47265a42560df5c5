"""What a student is to reach, and whether an arm does."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TRANSFORMERS = ("ViT", "Swin", "Transformer")
"""Parts of the names of networks that are transformers."""


@dataclass(frozen=True)
class Goal:
    """A bound of one number.

    Attributes:
        key: Name of the number in ``arm_numbers``.
        words: Heading.
        bound: What it is to reach, in its own unit.
        most: Whether ``bound`` is the most that it may be; else the least.
        for_transformers: Bound for students that are transformers, where it is another one.
        excludes_zero: Whether the interval must lie above zero too.
        scale: Factor for people, 100 for percent.
    """

    key: str
    words: str
    bound: float
    most: bool = False
    for_transformers: float | None = None
    excludes_zero: bool = False
    scale: float = 100.0

    def bound_of(self, arm: Mapping[str, Any]) -> float:
        """The bound for an arm, which has ``network``, the name of its network."""
        special = self.for_transformers is not None and any(word in (arm["network"] or "") for word in TRANSFORMERS)
        return self.for_transformers if special and self.for_transformers is not None else self.bound

    def is_met(self, arm: Mapping[str, Any]) -> bool | None:
        """Whether the estimate of an arm reaches the bound; ``None`` where it was not measured.

        Args:
            arm: ``network``, and ``numbers`` with ``value`` and ``low`` by key, ``None`` where not defined.
        """
        number = arm["numbers"].get(self.key)
        value = None if number is None else number["value"]
        if number is None or value is None or math.isnan(value):
            return None
        bound = self.bound_of(arm)
        reached = value <= bound if self.most else value >= bound
        low = number["low"]
        return bool(reached and (not self.excludes_zero or (low is not None and low > 0)))


GOALS = (
    Goal("balanced_slices", "balanced accuracy, slices", 0.96),
    Goal("balanced_patients", "balanced accuracy, patients", 0.97),
    Goal("gain_slices", "gain by the teacher, slices", 0.03, for_transformers=0.05, excludes_zero=True),
    Goal("meningioma", "recall of meningiomas", 0.90),
    Goal("numeric_gliomas", "recall of gliomas with numeric ids", 0.88),
    Goal("cam", "Grad-CAM energy over chance", 6.0, scale=1.0),
    Goal("inpainted", "tumour inpainted", 0.60, most=True),
    Goal("ece_after", "calibration error, with temperature", 0.03, most=True),
)
