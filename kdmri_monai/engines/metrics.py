"""Means over an epoch, gathered on the device."""

from collections.abc import Mapping
from typing import Any

import ignite.distributed as idist
import torch
from ignite.metrics import Metric
from torch import Tensor

WEIGHTED = "weighted/"


class MeanTerms(Metric):
    """Mean of ``loss`` and of every named term over the samples of an epoch; waits for the device once, at the end.

    Reads ``engine.state.output`` of ``DistillationTrainer``; the result is a mapping of floats: raw values by name, and
    values times their weights as ``weighted/NAME``.
    """

    def __init__(self) -> None:
        super().__init__(output_transform=_values)

    def reset(self) -> None:
        """Forget everything."""
        self._sums: dict[str, Tensor] = {}
        self._samples = 0

    def update(self, output: tuple[Tensor, Mapping[str, Tensor], int]) -> None:
        """Add one batch: its loss, its terms and how many samples it has."""
        loss, terms, samples = output
        for name, value in {"loss": loss, **terms}.items():
            value = value.detach().double() * samples
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._samples += samples

    def compute(self) -> dict[str, float]:
        """Means by name.

        Raises:
            ValueError: No batch came.
        """
        if not self._samples:
            raise ValueError("no batch came, so there are no means of the terms")
        samples = idist.all_reduce(float(self._samples))
        assert isinstance(samples, float)
        sums = idist.all_reduce(torch.stack(list(self._sums.values())))
        assert isinstance(sums, Tensor)
        return dict(zip(self._sums, (sums / samples).tolist(), strict=True))


def _values(output: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor], int]:
    weighted = {f"{WEIGHTED}{name}": value for name, value in output.get("weighted_terms", {}).items()}
    return output["loss"], {**output["terms"], **weighted}, len(output["label"])
