"""Small handlers that keep a run reproducible and stop one that has gone wrong."""

from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.utils import manual_seed
from monai.engines import IterationEvents


class EpochSeed:
    """Seeds Python, NumPy and torch at the start of every epoch from the run's seed and the epoch's number.

    Whatever is random within an epoch depends on nothing that came before, so a resumed run repeats an uninterrupted
    one.

    Args:
        seed: Seed of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def attach(self, engine: Engine) -> None:
        """Register at the start of every epoch."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Seed for the epoch that starts."""
        manual_seed((self.seed * 100_003 + engine.state.epoch) % 2**32)


class NonFiniteLossError(RuntimeError):
    """The loss became NaN or infinite."""


class StopOnNonFiniteLoss:
    """Stops before the optimiser takes a step on a loss that is NaN or infinite.

    Looking at the loss waits for the device, so on a GPU it is done only every so many iterations, and always at the
    end of an epoch before a checkpoint is written (place this handler before the checkpoints).

    Args:
        every: Iterations between two looks.
    """

    def __init__(self, every: int = 1) -> None:
        self.every = every

    def attach(self, engine: Engine) -> None:
        """Register after the loss of an iteration and at the end of every epoch."""
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED(every=self.every), self)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Look at the loss.

        Raises:
            NonFiniteLossError: It is not finite; the message names epoch, iteration and every term.
        """
        output: dict[str, Any] = engine.state.output
        loss = output["loss"].detach()
        if torch.isfinite(loss).all():
            return
        terms = ", ".join(f"{name} {float(value.detach()):.4g}" for name, value in output.get("terms", {}).items())
        raise NonFiniteLossError(
            f"the loss became {float(loss)} in epoch {engine.state.epoch}, iteration {engine.state.iteration} "
            f"({terms}); the checkpoints of earlier epochs are untouched. Try a smaller learning rate, or amp false"
        )
