"""A running mean of the student's weights, which is validated and saved in its place."""

from ignite.engine import Engine, Events
from ignite.handlers import EMAHandler
from torch import nn

from kdmri_monai.engines.process_average import same_everywhere
from kdmri_monai.engines.processes import several_processes

MOMENTUM = "ema_momentum"


class StudentAverage:
    """Keeps an exponential moving average of a network's weights beside it; a switch, since without momentum it is off.

    Ignite's ``EMAHandler`` does the averaging. The share of a step's weights is ``momentum``, larger in the first steps
    (``momentum_at``), so that the start is soon forgotten. It depends on the number of the iteration alone, so a
    resumed run needs nothing but the two networks. Running statistics of batch normalisation are averaged like the
    weights, since those of the student do not belong to the averaged weights; counters are copied.

    Where several processes train, all hold the same average.

    A handler for the trainer. Validate and save ``network``; put ``student`` among the states of a checkpoint.

    Args:
        network: The bare student.
        momentum: Share of the newest weights, 0 to 1; about 1 / momentum iterations are averaged. ``None`` is off.

    Attributes:
        network: The averaged network, in eval mode and without gradient; the student itself when off.
        student: The student where it is a network apart, so that both must be saved; ``None`` when off.

    Raises:
        ValueError: ``momentum`` is not between 0 and 1.
    """

    def __init__(self, network: nn.Module, momentum: float | None = None) -> None:
        self.network = network
        self.student: nn.Module | None = None
        self._handler: EMAHandler | None = None
        if momentum is None:
            return
        if not 0 < momentum < 1:
            raise ValueError(f"momentum is {momentum}, allowed are values between 0 and 1, or None for no average")
        self._handler = EMAHandler(network, momentum, handle_buffers="update")
        self.network = self._handler.ema_model
        self.student = self._handler.model

    def attach(self, trainer: Engine) -> None:
        """Average after every iteration of the trainer."""
        if self._handler is None:
            return
        if several_processes():
            trainer.add_event_handler(Events.STARTED, lambda: same_everywhere(self.network))
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._set_momentum)
        self._handler.attach(trainer, MOMENTUM, warn_if_exists=False)

    def _set_momentum(self, trainer: Engine) -> None:
        assert self._handler is not None
        setattr(trainer.state, MOMENTUM, momentum_at(trainer.state.iteration, self._handler.momentum))


def momentum_at(iteration: int, momentum: float) -> float:
    """Share of the newest weights after so many iterations, ``max(momentum, 9 / (10 + iteration))``.

    Source: TensorFlow, ``tf.train.ExponentialMovingAverage``, argument ``num_updates``, where the decay, one minus
    the share, is ``min(decay, (1 + n) / (10 + n))``.

    Args:
        iteration: Iterations done, from 1.
        momentum: The share in the long run.
    """
    return max(momentum, 9.0 / (10.0 + iteration))
