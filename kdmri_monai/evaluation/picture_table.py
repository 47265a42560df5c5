"""Predictions of single pictures as a CSV file: one row a picture, without a true label."""

import csv
from collections.abc import Sequence
from pathlib import Path

from kdmri_monai.data.atomic import replacing
from kdmri_monai.data.taxonomy import CLASSES
from kdmri_monai.evaluation.prediction_pictures import PicturePrediction
from kdmri_monai.evaluation.predictions import probability_columns


def write_picture_table(
    predictions: Sequence[PicturePrediction], path: Path, overlays: Sequence[Path] | None = None
) -> None:
    """Writes file, class and one ``p_<class>`` column a class.

    Beside them ``tumour_percent``, the predicted tumour in % of the picture, where the network has a geometry head,
    and ``overlay``, the name of the picture that was drawn.

    Args:
        predictions: One a picture, all of one network.
        path: File to be written or replaced.
        overlays: What was drawn of each; ``None`` where nothing was.

    Raises:
        OSError: The file cannot be written.
        ValueError: Not as many overlays as predictions.
    """
    header = ["file", "class", *probability_columns(CLASSES)]
    rows: list[list[str]] = [
        [one.picture.name, CLASSES[one.label], *map(repr, one.probabilities.tolist())] for one in predictions
    ]
    percents = [one.tumour_percent for one in predictions]
    if None not in percents and percents:
        header.append("tumour_percent")
        rows = [[*row, f"{percent:.3f}"] for row, percent in zip(rows, percents, strict=True)]
    if overlays is not None:
        header.append("overlay")
        rows = [[*row, overlay.name] for row, overlay in zip(rows, overlays, strict=True)]
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
