"""The two checkpoints of a run: the best weights of the network, and all that is needed to go on."""

import io
import logging
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from kdmri_monai.data.atomic import write_atomically
from kdmri_monai.engines.process_average import share_of_true
from kdmri_monai.engines.processes import is_first_process

logger = logging.getLogger(__name__)

BEST = "model.pt"
LAST = "checkpoint.pt"


class RunCheckpoints:
    """Writes ``model.pt``, the weights of the best epoch, and ``checkpoint.pt``, the whole state after the last one.

    ``model.pt`` is the plain state dict of ``network``, as MONAI's bundle tools want it. ``checkpoint.pt`` holds the
    state of the network, of everything in ``states``, of the trainer's gradient scaler, the epoch, and the best score
    so far, so that a resumed run does not replace a better model. Both are tensors and plain values only and load
    with ``weights_only=True``. They are written beside the old ones and then renamed: a full disk costs nothing that
    was there.

    Of several processes the first one writes, and all read. Attach it after validation and the learning-rate schedule.

    Args:
        folder: Folder of the run.
        network: The bare network that is trained.
        states: Further objects with ``state_dict`` and ``load_state_dict``: optimizer, lr_scheduler, distiller;
            ``None`` is left out.
        evaluator: Its metrics after validation decide which epoch is best; without one the last epoch is.
        score: Turns the evaluator's metrics into a number or a tuple, larger is better; ties keep the earlier epoch.
        resume: Continue from ``checkpoint.pt`` where there is one.
    """

    def __init__(
        self,
        folder: str | PathLike[str],
        network: nn.Module,
        states: Mapping[str, Any],
        evaluator: Engine | None = None,
        score: Callable[[Mapping[str, Any]], float | tuple[float, ...]] | None = None,
        resume: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self.network = network.module if isinstance(network, (DataParallel, DistributedDataParallel)) else network
        self.states = {name: holder for name, holder in states.items() if holder is not None}
        self.evaluator = evaluator
        self.score = score
        self.resume = resume
        self.best: dict[str, Any] = {"epoch": 0, "score": None}

    def attach(self, trainer: Engine) -> None:
        """Load the checkpoint when the trainer first starts, if asked to; save after every epoch."""
        trainer.add_event_handler(Events.STARTED, self._load_once)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def _load_once(self, trainer: Engine) -> None:
        if self.resume:
            self.load(trainer)
            self.resume = False

    def load(self, trainer: Engine) -> None:
        """Bring the trainer and everything else back to where the checkpoint was written, if there is one.

        Raises:
            ValueError: The checkpoint belongs to another configuration, or not all processes can see it.
        """
        path = self.folder / LAST
        seen = share_of_true(path.is_file())
        if 0 < seen < 1:
            raise ValueError(f"{path} is seen by some processes only: output_dir must be on a disk that all can read")
        if not seen:
            logger.info("%s is not there: the run starts at the beginning", path)
            return
        state = torch.load(path, map_location=trainer.state.device, weights_only=True)
        try:
            self.network.load_state_dict(state["network"])
            for name, holder in self.states.items():
                holder.load_state_dict(state["states"][name])
        except (KeyError, RuntimeError, ValueError) as error:
            raise ValueError(f"{path} was written by another configuration and cannot be continued: {error}") from error
        if trainer.scaler is not None and state["scaler"]:
            trainer.scaler.load_state_dict(state["scaler"])
        trainer.state.epoch, trainer.state.iteration = state["epoch"], state["iteration"]
        self.best = {"epoch": state["best_epoch"], "score": _as_tuple(state["best_score"])}
        logger.info("continuing %s after epoch %d", self.folder, state["epoch"])

    def save(self, trainer: Engine) -> None:
        """Write the last state, and the best weights if this epoch is the best."""
        score = self._score_of(trainer)
        better = score is not None and (self.best["score"] is None or score > self.best["score"])
        if better:
            self.best = {"epoch": trainer.state.epoch, "score": score}
        if not is_first_process():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if better:
            save_atomically(_plain(self.network.state_dict()), self.folder / BEST)
        scaler = trainer.scaler
        state = {
            "network": self.network.state_dict(),
            "states": {name: holder.state_dict() for name, holder in self.states.items()},
            "scaler": scaler.state_dict() if scaler is not None else {},
            "epoch": trainer.state.epoch,
            "iteration": trainer.state.iteration,
            "best_epoch": self.best["epoch"],
            "best_score": self.best["score"],
        }
        save_atomically(state, self.folder / LAST)

    def _score_of(self, trainer: Engine) -> tuple[float, ...] | None:
        if self.evaluator is None or self.score is None:
            return (float(trainer.state.epoch),)
        if self.evaluator.state.epoch != trainer.state.epoch:
            return None  # this epoch was not validated
        return _as_tuple(self.score(self.evaluator.state.metrics))


def save_atomically(content: Any, path: Path) -> None:
    """``torch.save`` by way of a file beside ``path``.

    Raises:
        OSError: The disk is full or not writable; the message names the file, and what was at ``path`` is still there.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        raise OSError(f"{path} could not be written ({error}); the file of the epoch before is kept") from error


def _plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights in rows, however the network keeps them (``channels_last``): safetensors takes no others."""
    return {name: value.contiguous() for name, value in state.items()}


def _as_tuple(score: Any) -> tuple[float, ...] | None:
    if score is None:
        return None
    return tuple(float(part) for part in score) if isinstance(score, (tuple, list)) else (float(score),)
