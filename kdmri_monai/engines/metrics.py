"""Means over an epoch, gathered on the device."""

from collections.abc import Mapping

import ignite.distributed as idist
import torch
from ignite.metrics import Metric
from torch import Tensor


class MeanTerms(Metric):
    """Mean of ``loss`` and of every named term over the samples of an epoch; waits for the device once, at the end.

    Reads ``engine.state.output`` of ``DistillationTrainer``; the result is a mapping of floats.
    """

    def __init__(self) -> None:
        super().__init__(output_transform=lambda output: (output["loss"], output["terms"], len(output["label"])))

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
