"""Terms that learn something of the teacher before the training begins."""

import logging
from collections.abc import Callable, Iterable
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines.utils import default_prepare_batch

from kdmri_monai.engines.distiller import Distiller
from kdmri_monai.networks.resampling import pooled

logger = logging.getLogger(__name__)


class FitTerms:
    """Shows terms with ``needs_fit`` the teacher's features of all training samples, once, without augmentation.

    What they find is part of the distiller's state, so a resumed run does not look again. Of several processes each
    reads all slices; the trainer then starts them all from what the first one found. Attach it after whatever loads a
    checkpoint.

    Args:
        data_loader: The training slices, each once; their order does not matter.
        distiller: Its terms are fitted.
        device: Where to compute.
        prepare_batch: As for MONAI's evaluator; without augmentation.
    """

    def __init__(
        self,
        data_loader: Iterable[Any],
        distiller: Distiller,
        device: torch.device,
        prepare_batch: Callable[..., Any] = default_prepare_batch,
    ) -> None:
        self.data_loader = data_loader
        self.distiller = distiller
        self.device = device
        self.prepare_batch = prepare_batch

    def attach(self, trainer: Engine) -> None:
        """Fit when the trainer starts."""
        trainer.add_event_handler(Events.STARTED, self)

    def __call__(self, _trainer: Engine) -> None:
        """Fit every term that wants it and has not been fitted."""
        terms: dict[str, Any] = {name: term.term for name, term in self.distiller.terms.items()}
        waiting = [name for name, term in terms.items() if term.needs_fit and not term.fitted]
        if not waiting:
            return
        logger.info("the teacher is read on the training slices for %s", ", ".join(waiting))
        rows: list[tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]] = []
        assert self.distiller.read_teacher is not None
        for batch in self.data_loader:
            image = self.prepare_batch(batch, self.device, False)[0]
            logits, features = self.distiller.read_teacher(image, batch)
            rows.append(([pooled(feature).float() for feature in features], logits.float(), batch["label"]))
        logits = torch.cat([row[1] for row in rows])
        labels = torch.cat([torch.as_tensor(row[2]) for row in rows]).to(logits.device)
        for name in waiting:
            place = self.distiller.teacher_places(name)[0]
            embeddings = torch.cat([row[0][place] for row in rows])
            terms[name].fit(embeddings, logits, labels)
