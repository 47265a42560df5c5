"""Refuses weights that were trained for other classes than those of the data at hand."""

import json
from os import PathLike
from pathlib import Path

from kdmri_monai.data.datalist import class_names, read_datalist


def check_run_classes(
    checkpoint: str | PathLike[str] | None, datalist: str | PathLike[str], role: str = "checkpoint"
) -> None:
    """Compares the classes in ``run.json`` beside a checkpoint with those of a datalist, names and order.

    Without a record, or with one that is older than other classes are, there is nothing to compare.

    Args:
        checkpoint: Weights of a run; ``None`` for none.
        datalist: ``datalist.json`` that they are used on.
        role: What the weights are to the user, for messages.

    Raises:
        ValueError: The classes differ; the message names both.
    """
    record = None if checkpoint is None else Path(checkpoint).with_name("run.json")
    if record is None or not record.is_file():
        return
    trained = json.loads(record.read_text(encoding="utf-8")).get("data", {}).get("classes")
    if trained is None:
        return
    here = class_names(read_datalist(Path(datalist)))
    if tuple(trained) != here:
        raise ValueError(
            f"{role} {checkpoint} was trained for the classes {', '.join(trained)}; {datalist} has {', '.join(here)}"
        )
