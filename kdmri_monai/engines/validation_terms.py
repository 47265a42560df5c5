"""The distillation terms on the validation patients, beside the evaluator, which never sees a teacher."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines.utils import default_prepare_batch
from torch import nn

from kdmri_monai.engines.distiller import Distiller
from kdmri_monai.engines.metrics import MeanTerms
from kdmri_monai.losses.terms import DistillationInputs


class ValidationTerms:
    """Measures every distillation term on held-out data after an epoch, without gradient, all networks in eval mode.

    ``values`` holds the means by name after each measurement, and ``epoch`` says when.

    Args:
        data_loader: Validation batches.
        network: The student.
        distiller: The terms.
        device: Where to compute.
        prepare_batch: As for MONAI's evaluator.
        interval: Epochs between two measurements.
    """

    def __init__(
        self,
        data_loader: Iterable[Any],
        network: nn.Module,
        distiller: Distiller,
        device: torch.device,
        prepare_batch: Callable[..., Any] = default_prepare_batch,
        interval: int = 1,
    ) -> None:
        self.data_loader = data_loader
        self.network, self.distiller = network, distiller
        self.device = device
        self.prepare_batch = prepare_batch
        self.interval = interval
        self.values: dict[str, float] = {}
        self.epoch = 0

    def attach(self, trainer: Engine) -> None:
        """Measure after every ``interval`` epochs of the trainer."""
        trainer.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self)

    def __call__(self, trainer: Engine) -> None:
        """Measure with the weights of the moment."""
        measuring = Engine(lambda _engine, batch: self._measure(batch, float(trainer.state.epoch)))
        MeanTerms().attach(measuring, "terms")
        measured = (self.network, self.distiller)
        modes = [module.training for module in measured]
        for module in measured:
            module.eval()
        try:
            measuring.run(self.data_loader)
        finally:
            for module, mode in zip(measured, modes, strict=True):
                module.train(mode)
        self.values = {name: value for name, value in measuring.state.metrics["terms"].items() if name != "loss"}
        self.epoch = trainer.state.epoch

    @torch.no_grad()
    def _measure(self, batch: dict[str, Any], epoch: float) -> dict[str, Any]:
        prepared = self.prepare_batch(batch, self.device, False)
        image, label = prepared[0], prepared[1]
        teacher_logits = torch.empty(0)
        teacher_features: list[torch.Tensor] = []
        if self.distiller.read_teacher is not None:
            teacher_logits, teacher_features = self.distiller.read_teacher(image, batch)
        with self.distiller.student_taps.collect() as student_features:
            student_logits = self.network(image)
        inputs = DistillationInputs(student_logits, teacher_logits, label, student_features, teacher_features, batch)
        values = self.distiller(inputs, epoch)
        return {"loss": values.total, "terms": values.raw, "label": label}
