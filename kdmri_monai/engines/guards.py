"""Small handlers that keep a run reproducible and stop one that has gone wrong."""

from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from ignite.utils import manual_seed
from monai.engines import IterationEvents

from kdmri_monai.engines.process_average import share_of_true


class EpochSeed:
    """Seeds Python, NumPy and torch at the start of every epoch from the run's seed and the epoch's number.

    Whatever is random within an epoch depends on nothing that came before, so a resumed run repeats an uninterrupted
    one. Of several processes each has a seed of its own, so that they do not augment alike.

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
        manual_seed(epoch_seed(self.seed, engine.state.epoch, idist.get_rank()))


def epoch_seed(seed: int, epoch: int, rank: int = 0) -> int:
    """Seed of an epoch, 32 bits.

    Args:
        seed: Seed of the run.
        epoch: From 1.
        rank: Of the process; the first one has the seed that a single process has.
    """
    if rank:
        return int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1)[0])
    return (seed * 100_003 + epoch) % 2**32


class NonFiniteLossError(RuntimeError):
    """The loss became NaN or infinite."""


class StopOnNonFiniteLoss:
    """Stops before the optimiser takes a step on a loss that is NaN or infinite.

    Looking at the loss waits for the device, so on a GPU it is done only every so many iterations, and always at the
    end of an epoch before a checkpoint is written (place this handler before the checkpoints). Of several processes all
    stop where one has such a loss.

    Args:
        every: Iterations between two looks.
    """

    def __init__(self, every: int = 1) -> None:
        self.every = every

    def attach(self, engine: Engine) -> None:
        """Register after the loss of an iteration and at the end of every epoch."""
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self._in_its_turn)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def _in_its_turn(self, engine: Engine) -> None:
        if (
            engine.state.iteration % self.every == 0
        ):  # MONAI's events are not counted, so Ignite's every= cannot be asked
            self(engine)

    def __call__(self, engine: Engine) -> None:
        """Look at the loss.

        Raises:
            NonFiniteLossError: It is not finite; the message names epoch, iteration and every term.
        """
        output: dict[str, Any] = engine.state.output
        loss = output["loss"].detach()
        mine = torch.isfinite(loss).all()
        if share_of_true(mine) == 1:
            return
        if mine:
            raise NonFiniteLossError(
                f"the loss of another process became NaN or infinite in epoch {engine.state.epoch}, iteration "
                f"{engine.state.iteration}; that process names it"
            )
        terms = ", ".join(f"{name} {float(value.detach()):.4g}" for name, value in output.get("terms", {}).items())
        raise NonFiniteLossError(
            f"the loss became {float(loss)} in epoch {engine.state.epoch}, iteration {engine.state.iteration} "
            f"({terms}); the checkpoints of earlier epochs are untouched. Try a smaller learning rate, or amp false"
        )
