"""Writes what an evaluator predicted, and its metrics, when the evaluation is complete."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.utils import evenly_divisible_all_gather, string_list_all_gather

from kdmri_monai.data.taxonomy import CLASSES
from kdmri_monai.evaluation.metrics_file import evaluate_predictions, write_metrics
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.predictions_file import write_predictions

NAMES = ("id", "patient", "family")


class PredictionSaver:
    """Handler that writes a predictions CSV and a metrics JSON at the end of every run of an evaluator.

    For a MONAI ``SupervisedEvaluator`` with ``decollate=False``. At every iteration it keeps
    ``engine.state.output["pred"]``, logits of shape ``(B, K)``, and ``label`` (shape ``(B,)`` or ``(B, 1)``, tensor
    or list), ``id``, ``patient`` and ``family`` (lists of str) of ``engine.state.batch``. Tensors stay where they
    are until the end, so that the device is never waited for. Among several processes the rows of all are gathered,
    the repeats by which a sampler fills up its last batch are dropped, and the first process writes.

    Args:
        predictions_path: CSV file to be written or replaced.
        metrics_path: JSON file to be written or replaced; ``None`` writes none.
        classes: Names of the K classes.
        seed: Seed of the bootstrap.
        replicates: Number of bootstrap replicates.
        provenance: What is written beside the metrics, see ``write_metrics``.

    Raises:
        ValueError: At the first iteration, when the batch or the output is not of this form; at the end, when a
            logit is not finite or an id repeats (``PredictionError``), naming the row.
    """

    def __init__(
        self,
        predictions_path: str | Path,
        metrics_path: str | Path | None = None,
        classes: Sequence[str] = CLASSES,
        seed: int = 0,
        replicates: int = 2000,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        self.predictions_path = Path(predictions_path)
        self.metrics_path = Path(metrics_path) if metrics_path is not None else None
        self.classes, self.seed, self.replicates = tuple(classes), seed, replicates
        self.provenance = provenance
        self.reset()

    def attach(self, engine: Engine) -> None:
        """Registers the handler with an evaluator."""
        engine.add_event_handler(Events.STARTED, self.reset)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.COMPLETED, self.save)

    def reset(self) -> None:
        """Forgets what was collected."""
        self._logits: list[torch.Tensor] = []
        self._labels: list[torch.Tensor] = []
        self._names: dict[str, list[str]] = {name: [] for name in NAMES}

    def collect(self, engine: Engine) -> None:
        """Keeps the logits and names of one batch; nothing is copied to the host."""
        output, batch = engine.state.output, engine.state.batch
        if not isinstance(output, Mapping) or not isinstance(batch, Mapping):
            raise ValueError("PredictionSaver reads whole batches: build the evaluator with decollate=False")
        missing = [name for name in ("label", *NAMES) if name not in batch]
        if missing:
            raise ValueError(f"PredictionSaver needs {', '.join(missing)} in every batch, got {', '.join(batch)}")
        logits = _plain(output["pred"])
        if logits.ndim != 2 or logits.shape[1] != len(self.classes):
            raise ValueError(f"logits have shape {tuple(logits.shape)}, expected (B, {len(self.classes)})")
        label = _plain(batch["label"])
        if label.numel() != len(logits) or any(len(batch[name]) != len(logits) for name in NAMES):
            raise ValueError(f"labels or names do not match the {len(logits)} rows of logits, one of each is needed")
        self._logits.append(logits.to(torch.promote_types(logits.dtype, torch.float32), copy=True))
        self._labels.append(label.reshape(-1).to(torch.int64))
        for name in NAMES:
            self._names[name] += [str(value) for value in batch[name]]

    def save(self) -> None:
        """Gathers the rows of all processes and writes the files in the first one."""
        predictions = self._gathered()
        if idist.get_rank() > 0:
            return
        self.predictions_path.parent.mkdir(parents=True, exist_ok=True)
        write_predictions(predictions, self.predictions_path)
        if self.metrics_path is not None:
            metrics = evaluate_predictions(predictions, self.seed, self.replicates)
            write_metrics(metrics, self.metrics_path, self.provenance)

    def _gathered(self) -> Predictions:
        device = idist.device() if idist.get_world_size() > 1 else torch.device("cpu")
        logits = evenly_divisible_all_gather(torch.cat(self._logits).to(device)).cpu()
        labels = evenly_divisible_all_gather(torch.cat([label.to(device) for label in self._labels])).cpu().numpy()
        names = {name: np.array(string_list_all_gather(values)) for name, values in self._names.items()}
        rows = np.arange(len(labels))
        if idist.get_world_size() > 1:
            rows = np.sort(np.unique(names["id"], return_index=True)[1])
        probabilities = torch.softmax(logits.double(), dim=1).numpy()
        patients, families = names["patient"][rows], names["family"][rows]
        return Predictions(names["id"][rows], patients, families, labels[rows], probabilities[rows], self.classes)


def _plain(values: Any) -> torch.Tensor:
    """A tensor without metadata and without gradient, on the device that it is on."""
    return (values.as_tensor() if isinstance(values, MetaTensor) else torch.as_tensor(values)).detach()
