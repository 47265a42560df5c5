"""Curves of a run: one JSON line an epoch, the same numbers in TensorBoard, and one line in the log."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from numpy.typing import NDArray
from torch.optim import Optimizer
from torch.utils.tensorboard import SummaryWriter

from kdmri_monai.engines.hyper_parameters import write_hyper_parameters
from kdmri_monai.engines.metrics import WEIGHTED
from kdmri_monai.engines.processes import is_first_process
from kdmri_monai.engines.validation_terms import ValidationTerms

logger = logging.getLogger(__name__)

FILE = "metrics.jsonl"

Pictures = Callable[[int], NDArray[np.uint8] | None]
"""Epoch, from 1, to a picture of shape ``(rows, columns, 3)``, or to ``None`` where there is none after this epoch."""


class CurveWriter:
    """Writes ``metrics.jsonl`` and TensorBoard events: learning rate, every term and metric, training and validation.

    A line is ``{"epoch": 3, "lr": 0.0005, "training": {"loss": .., "task": .., "kd": .., "accuracy": ..}, "validation":
    {"loss": .., "accuracy": .., "balanced_accuracy": .., "kd": ..}, "weighted": {"task": .., "kd": ..},
    "gradient_norms": {"task": .., "kd": ..}, "n": {"training": 1700, "validation": 300}, "seconds": 12.3}``.

    Training numbers are means over augmented batches while the weights move, ``weighted`` the same terms times their
    weights; ``gradient_norms`` come from ``TermGradients``. Validation numbers belong to the weights after the epoch.
    Of several processes all measure and the first one writes. Attach after validation and before the learning-rate
    schedule.

    Args:
        folder: Folder of the run.
        optimizer: Its first group's learning rate is written.
        evaluator: Its metrics are the validation numbers.
        validation_terms: Measured after every epoch and added to the validation numbers.
        samples: Slices of every split, for ``n``.
        settings: Hyper-parameters of the run, for TensorBoard's comparison of runs.
        pictures: What the student says of some slices, for TensorBoard; asked after every epoch, after validation.
    """

    def __init__(
        self,
        folder: str | PathLike[str],
        optimizer: Optimizer,
        evaluator: Engine | None = None,
        validation_terms: ValidationTerms | None = None,
        samples: dict[str, int] | None = None,
        settings: Mapping[str, Any] | None = None,
        pictures: Pictures | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.optimizer = optimizer
        self.evaluator = evaluator
        self.validation_terms = validation_terms
        self.samples = samples or {}
        self.settings, self.pictures = settings, pictures
        self._board: SummaryWriter | None = None
        self._began = 0.0

    def attach(self, trainer: Engine) -> None:
        """Register with the trainer."""
        if self.validation_terms is not None:
            self.validation_terms.attach(trainer)
        if not is_first_process():
            return
        trainer.add_event_handler(Events.EPOCH_STARTED, self._start)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._write)
        # not on EXCEPTION_RAISED: Ignite drops an exception that has a handler
        trainer.add_event_handler(Events.COMPLETED, self._close)

    def _start(self, trainer: Engine) -> None:
        if self._board is None:
            self._open(done=trainer.state.epoch - 1)
        self._began = time.perf_counter()

    def _open(self, done: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / FILE
        rows = path.read_text(encoding="utf-8").splitlines() if done and path.is_file() else []
        kept = [row for row in rows if json.loads(row)["epoch"] <= done]
        path.write_text("".join(row + "\n" for row in kept), encoding="utf-8")
        self._board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=done + 1)
        if self.settings is not None and not done:
            write_hyper_parameters(self._board, self.settings)

    def _write(self, trainer: Engine) -> None:
        row = self._row(trainer)
        with (self.folder / FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        assert self._board is not None
        self._board.add_scalar("lr", row["lr"], row["epoch"])
        for part in ("training", "validation", "weighted", "gradient_norms"):
            for name, value in row.get(part, {}).items():
                self._board.add_scalar(f"{name}/{part}", value, row["epoch"])
        picture = None if self.pictures is None else self.pictures(row["epoch"])
        if picture is not None:
            self._board.add_image("predictions/validation", picture, row["epoch"], dataformats="HWC")
        self._board.flush()
        logger.info(_in_words(row, trainer.state.max_epochs))

    def _row(self, trainer: Engine) -> dict[str, Any]:
        epoch = trainer.state.epoch
        row: dict[str, Any] = {"epoch": epoch, "lr": self.optimizer.param_groups[0]["lr"]}
        means = _scalars(trainer.state.metrics)
        row["training"] = {name: value for name, value in means.items() if not name.startswith(WEIGHTED)}
        weighted = {name.removeprefix(WEIGHTED): v for name, v in means.items() if name.startswith(WEIGHTED)}
        norms = getattr(trainer.state, "gradient_norms", {})
        row |= {part: values for part, values in (("weighted", weighted), ("gradient_norms", norms)) if values}
        if self.evaluator is not None and self.evaluator.state.epoch == epoch:
            row["validation"] = _scalars(self.evaluator.state.metrics)
            if self.validation_terms is not None and self.validation_terms.epoch == epoch:
                row["validation"].update(self.validation_terms.values)
        row["n"] = self.samples
        row["seconds"] = round(time.perf_counter() - self._began, 3)
        return row

    def _close(self, *_: Any) -> None:
        if self._board is not None:
            self._board.close()
            self._board = None


def _scalars(metrics: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items() if isinstance(value, (int, float))}


def _in_words(row: dict[str, Any], epochs: int) -> str:
    parts = [f"epoch {row['epoch']}/{epochs}", f"lr {row['lr']:.2g}"]
    for part in ("training", "validation"):
        if part in row:
            parts.append(part + " " + " ".join(f"{name} {value:.4g}" for name, value in row[part].items()))
    return " | ".join(parts)
