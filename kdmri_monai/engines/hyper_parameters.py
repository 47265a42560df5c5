"""Hyper-parameters of a run in TensorBoard, where its page HPARAMS compares runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

COMPARED = ("balanced_accuracy/validation", "accuracy/validation", "loss/validation", "accuracy/training")
"""Scalars whose last values stand beside the hyper-parameters; their tags are those of ``CurveWriter``."""


def write_hyper_parameters(
    board: SummaryWriter, settings: Mapping[str, Any], compared: Sequence[str] = COMPARED
) -> None:
    """Writes the settings into the event file of a run; TensorBoard reads the metrics from the scalars as they come.

    ``SummaryWriter.add_hparams`` would write them into a folder of their own, as another run without curves.

    Args:
        board: Writer of the run.
        settings: Names to values; truth values as 0 and 1, what is neither number nor text as text.
        compared: Tags of scalars.
    """
    plain = {
        name: value if isinstance(value, (bool, int, float, str)) else str(value) for name, value in settings.items()
    }
    experiment, start, _ = hparams(plain, dict.fromkeys(compared, 0.0))
    writer = board.file_writer
    assert writer is not None
    for summary in (experiment, start):
        writer.add_summary(summary, 0)
