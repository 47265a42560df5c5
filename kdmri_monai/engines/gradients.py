"""How hard every term pulls at the student: norms of its gradient, now and then."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents
from torch import Tensor, nn

from kdmri_monai.engines.process_average import average_tensors
from kdmri_monai.engines.processes import several_processes


class TermGradients:
    """Norm of the gradient that every weighted term, and the task, has on the student, every so many iterations.

    Each measurement costs one more backward pass a term. The means over an epoch are left in
    ``trainer.state.gradient_norms``, by name; ``CurveWriter`` writes them. Of several processes the mean
    gradient is measured, which is that of the whole batch. Attach before ``CurveWriter``.

    Args:
        network: The student.
        every: Iterations between two measurements; the first of an epoch is always measured.

    Raises:
        ValueError: ``every`` is below one.
    """

    def __init__(self, network: nn.Module, every: int = 50) -> None:
        if every < 1:
            raise ValueError(f"every is {every} iterations, it must be at least 1")
        self.network = network
        self.every = every
        self._norms: dict[str, list[Tensor]] = {}

    def attach(self, trainer: Engine) -> None:
        """Register with a ``DistillationTrainer``."""
        trainer.add_event_handler(Events.EPOCH_STARTED, self._start)
        trainer.add_event_handler(IterationEvents.LOSS_COMPLETED, self)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._finish)

    def _start(self, trainer: Engine) -> None:
        self._norms, self._seen = {}, 0
        trainer.state.gradient_norms = {}

    def __call__(self, trainer: Engine) -> None:
        """Measure, if it is time."""
        self._seen += 1
        if (self._seen - 1) % self.every:
            return
        output: dict[str, Any] = trainer.state.output
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        for name, value in (output.get("weighted_terms") or output["terms"]).items():
            if several_processes():
                norm = mean_gradient_norm(value * trainer.loss_share, parameters)
            else:
                norm = gradient_norm(value, parameters)
            self._norms.setdefault(name, []).append(norm)

    def _finish(self, trainer: Engine) -> None:
        trainer.state.gradient_norms = {
            name: float(torch.stack(norms).mean()) for name, norms in self._norms.items() if norms
        }


def gradient_norm(value: Tensor, parameters: Iterable[Tensor]) -> Tensor:
    """Euclidean norm of the gradient of a scalar; zero where it does not depend on the parameters."""
    if not value.requires_grad:
        return torch.zeros((), device=value.device)
    gradients = torch.autograd.grad(value, list(parameters), retain_graph=True, allow_unused=True)
    norms = [gradient.norm() for gradient in gradients if gradient is not None]
    return torch.stack(norms).norm() if norms else torch.zeros((), device=value.device)


def mean_gradient_norm(value: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Euclidean norm of the mean over processes of the gradient of a scalar; all processes must ask for it together."""
    gradients: Sequence[Tensor | None] = [None] * len(parameters)
    if value.requires_grad:
        gradients = torch.autograd.grad(value, list(parameters), retain_graph=True, allow_unused=True)
    means = [
        torch.zeros_like(parameter) if gradient is None else gradient.clone()
        for parameter, gradient in zip(parameters, gradients, strict=True)
    ]
    average_tensors(means)
    return torch.stack([mean.norm() for mean in means]).norm()
