"""How a pretrained network learns other classes: its head first and faster, its body later and slower.

Sources: Howard and Ruder, "Universal Language Model Fine-tuning for Text Classification", ACL 2018, section 3.2
(learning rates by layer, and unfreezing step by step); Kumar et al., "Fine-Tuning can Distort Pretrained Features and
Underperform Out-of-Distribution", ICLR 2022 (a new head first, so that its first gradients do not spoil the body).
"""

from collections.abc import Iterable, Sequence
from typing import Any

from ignite.engine import Engine, Events
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def fine_tuning_groups(
    network: nn.Module,
    head: Sequence[str],
    learning_rate: float,
    body_rate: float = 0.1,
    distiller: nn.Module | None = None,
) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer; a schedule multiplies each by the same factor.

    Args:
        network: The student.
        head: Names of its new parameters.
        learning_rate: Of the head, and of the distiller's own parameters, which are new too.
        body_rate: Learning rate of the body as a share of that, above 0 up to 1.
        distiller: Where there is one.

    Returns:
        Two groups, what is new first, so that its rate is the one that is drawn as ``lr``.

    Raises:
        ValueError: ``body_rate`` is out of range, or ``head`` names nothing of the network.
    """
    if not 0 < body_rate <= 1:
        raise ValueError(f"body_rate is {body_rate}, allowed are shares above 0 up to 1; freeze_epochs keeps it still")
    new, body = _parted(network, head)
    new += [] if distiller is None else list(distiller.parameters())
    return [{"params": new, "lr": learning_rate}, {"params": body, "lr": body_rate * learning_rate}]


class FrozenBody:
    """Keeps the body of a network as it is for the first epochs, while the head learns.

    Its parameters get no gradient, and its batch normalisation uses and keeps the statistics that it came with: those
    of a few new slices would change what the head is shown. What is frozen follows from the number of the epoch alone,
    so a resumed run goes on alike.

    Args:
        network: The student.
        head: Names of the parameters that learn from the start.
        epochs: Epochs that the body stands still; 0 switches this off.

    Raises:
        ValueError: ``epochs`` is negative, or ``head`` names nothing of the network.
    """

    def __init__(self, network: nn.Module, head: Sequence[str], epochs: int) -> None:
        if epochs < 0:
            raise ValueError(f"freeze_epochs is {epochs}, allowed are 0 and above")
        self.network, self.epochs = network, epochs
        self.body = _parted(network, head)[1]
        owners = {name.rpartition(".")[0] for name in head}
        self.norms = [
            module for name, module in network.named_modules() if isinstance(module, _BatchNorm) and name not in owners
        ]
        self._hold: Any = None

    def attach(self, trainer: Engine) -> None:
        """Register with a trainer, before anything that reads which parameters learn."""
        trainer.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, trainer: Engine) -> None:
        """Freeze or release, as the epoch asks for."""
        frozen = trainer.state.epoch <= self.epochs
        for parameter in self.body:
            parameter.requires_grad_(not frozen)
        if frozen and self._hold is None:
            self._hold = self.network.register_forward_pre_hook(self._still)
        if not frozen and self._hold is not None:
            self._hold.remove()
            self._hold = None

    def _still(self, network: nn.Module, inputs: Any) -> None:
        """Right before a forward pass, since the trainer puts the whole network into training mode at every step."""
        for norm in self.norms:
            norm.eval()


def _parted(network: nn.Module, head: Iterable[str]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    names = set(head)
    parts: tuple[list[nn.Parameter], list[nn.Parameter]] = ([], [])
    for name, parameter in network.named_parameters():
        parts[name not in names].append(parameter)
    if not parts[0]:
        raise ValueError(f"the head ({', '.join(sorted(names)) or 'nothing'}) names no parameter of the network")
    return parts
