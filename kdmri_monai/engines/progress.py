"""The progress bar of a run."""

from typing import Any

from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar

from kdmri_monai.engines.processes import is_first_process


class TermBar(ProgressBar):
    """Ignite's progress bar over the batches of an epoch, with the loss and every term; of several processes the
    first one shows its own.

    Args:
        every: Batches between two updates of the numbers; reading them waits for the device.
        **kwargs: As for ``ignite.handlers.ProgressBar``.
    """

    def __init__(self, every: int = 5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.every = every

    def attach(self, engine: Engine, *_: Any, **__: Any) -> None:
        """Register with an engine whose output holds ``loss`` and, where there are any, ``terms``."""
        if is_first_process():
            super().attach(engine, output_transform=_numbers, event_name=Events.ITERATION_COMPLETED(every=self.every))


def _numbers(output: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in {"loss": output["loss"], **output["terms"]}.items()}
