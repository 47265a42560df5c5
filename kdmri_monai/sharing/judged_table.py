"""Judged pictures as a table and as JSON, written one by one, so that any number of them needs no memory."""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

from kdmri_monai.data.atomic import replacing
from kdmri_monai.data.findings import Finding
from kdmri_monai.evaluation.predictions import probability_columns
from kdmri_monai.sharing.judged_pictures import JudgedPicture

FORMAT = "kdmri-predict-1"
TABLE, TREE = "predictions.csv", "predictions.json"
BLANK = ""


class JudgedTable:
    """``predictions.csv`` and ``predictions.json`` of one call; use ``judged_table``.

    Args:
        table: Opened for the table.
        tree: Opened for the JSON.
        classes: Names of the K classes.
        extra: Further columns, of ``tumour_percent`` and ``overlay``.
        settings: Written first.
    """

    def __init__(
        self, table: TextIO, tree: TextIO, classes: Sequence[str], extra: Sequence[str], settings: Mapping[str, Any]
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._writer, self._tree, self._extra = csv.writer(table, lineterminator="\n"), tree, tuple(extra)
        told = ["feature_distance", "abstains", "reasons"]
        columns = ["file", "slice", "plane", "class", "most_probable", *probability_columns(classes), *told]
        self._writer.writerow([*columns, *self._extra])
        head = json.dumps({"format": FORMAT, "settings": settings}, indent=1, ensure_ascii=False, allow_nan=False)
        tree.write(head.removesuffix("\n}") + ',\n "predictions": [')

    def add(self, one: JudgedPicture, overlay: str | None = None) -> None:
        """Writes one picture.

        Args:
            one: What is said of it.
            overlay: Name of the picture that was drawn.
        """
        row = one.as_dict() | ({} if overlay is None else {"overlay": overlay})
        self._tree.write(",\n  " if self.counts else "\n  ")
        self._tree.write(json.dumps(row, ensure_ascii=False, allow_nan=False))
        self.counts[one.decision] += 1
        self._writer.writerow(_cells(one, row, self._extra))

    def end(self, skipped: Iterable[Finding]) -> None:
        """Closes the JSON.

        Args:
            skipped: What could not be read.
        """
        tail = {"counts": dict(sorted(self.counts.items())), "skipped": [one.as_dict() for one in skipped]}
        text = json.dumps(tail, indent=1, ensure_ascii=False, allow_nan=False)
        self._tree.write("\n ],\n" + text.removeprefix("{\n") + "\n")


@contextmanager
def judged_table(
    folder: Path, classes: Sequence[str], extra: Sequence[str], settings: Mapping[str, Any]
) -> Iterator[JudgedTable]:
    """Both files of one call, there as a whole when the block ends without an error, or as they were.

    Args:
        folder: Made where it is missing.
        classes: Names of the K classes.
        extra: Further columns, of ``tumour_percent`` and ``overlay``.
        settings: What holds for all pictures.

    Raises:
        OSError: A file cannot be written.
    """
    with ExitStack() as stack:
        paths = [stack.enter_context(replacing(folder / name)) for name in (TABLE, TREE)]
        with paths[0].open("w", encoding="utf-8", newline="") as table, paths[1].open("w", encoding="utf-8") as tree:
            yield JudgedTable(table, tree, classes, extra, settings)


def _cells(one: JudgedPicture, row: Mapping[str, Any], extra: Sequence[str]) -> list[str]:
    reasons = "; ".join(f"{reason.kind}: {reason.words}" for reason in one.reasons)
    distance = BLANK if one.distance is None else f"{one.distance:.6g}"
    decided = ("yes" if one.abstains else "no") if one.compared else BLANK
    cells = {"tumour_percent": f"{row['tumour_percent']:.3f}"} if "tumour_percent" in row else {}
    cells |= {"overlay": row["overlay"]} if "overlay" in row else {}
    return [
        *(BLANK if row[name] is None else str(row[name]) for name in ("file", "slice", "plane")),
        one.decision,
        one.most_probable,
        *map(repr, row["probabilities"].values()),
        distance,
        decided,
        reasons,
        *(cells.get(name, BLANK) for name in extra),
    ]
