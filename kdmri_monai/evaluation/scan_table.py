"""What a network says of every slice of a user's scans, as a table and as JSON, with what could not be used."""

import csv
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor

from kdmri_monai.data.atomic import replacing
from kdmri_monai.data.findings import group_findings
from kdmri_monai.data.stored_scans import ALONE, StoredScans
from kdmri_monai.evaluation.predictions import probability_columns
from kdmri_monai.evaluation.run_temperature import RunTemperature
from kdmri_monai.evaluation.subject import file_digest

logger = logging.getLogger(__name__)

FORMAT = "kdmri-inference-1"
NO_HEALTHY_CLASS = "every slice is given one of these classes, a healthy one too; for research only"


class ScanTable:
    """Handler that writes ``predictions.csv`` and ``predictions.json`` at the end of every run of an evaluator.

    For a MONAI ``SupervisedEvaluator`` with ``decollate=False`` whose batches come from ``StoredScans``, and whose
    postprocessing leaves probabilities ``pred`` and ``calibrated``, both ``(B, K)``, in the output; names of drawn
    pictures under ``overlay`` are listed too. Rows are kept, pixels are not. The same scans and weights give the same
    bytes.

    Args:
        folder: Where the files are written or replaced.
        scans: What the batches come from; its findings are listed.
        classes: Names of the K classes.
        temperature: By what the logits were divided for ``calibrated``.
        checkpoint: The weights, whose SHA-256 is written.
        settings: What else is written under ``settings``.

    Raises:
        ValueError: At the first iteration, when the output is not of this form.
    """

    def __init__(
        self,
        folder: str | Path,
        scans: StoredScans,
        classes: Sequence[str],
        temperature: RunTemperature,
        checkpoint: str | Path,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.scans, self.classes = Path(folder), scans, tuple(classes)
        self.temperature, self.checkpoint, self.settings = temperature, Path(checkpoint), dict(settings or {})
        self.reset()

    def attach(self, engine: Engine) -> None:
        """Registers the handler with an evaluator."""
        engine.add_event_handler(Events.STARTED, self.reset)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.COMPLETED, self.save)

    def reset(self) -> None:
        """Forgets what was collected."""
        self.rows: list[dict[str, Any]] = []

    def collect(self, engine: Engine) -> None:
        """Keeps what is said of one batch."""
        batch, output = engine.state.batch, engine.state.output
        raw, calibrated = (_rows(output, name, len(self.classes)) for name in ("pred", "calibrated"))
        drawn = output.get("overlay", [None] * len(raw))
        for place, (plain, scaled) in enumerate(zip(raw, calibrated, strict=True)):
            number = int(batch["slice"][place])
            row = {
                "file": batch["file"][place],
                "slice": None if number == ALONE else number,
                "plane": batch["plane"][place] or None,
                "class": self.classes[max(range(len(plain)), key=plain.__getitem__)],
                "probabilities": dict(zip(self.classes, plain, strict=True)),
                "calibrated": dict(zip(self.classes, scaled, strict=True)),
            }
            self.rows.append(row if drawn[place] is None else row | {"overlay": drawn[place]})

    def save(self) -> None:
        """Writes both files and says in the log how it went.

        Raises:
            ValueError: There was no slice at all; the files are written all the same.
        """
        self._write_table(self.folder / "predictions.csv")
        content = {
            "format": FORMAT,
            "settings": self._settings(),
            "inputs": [str(path) for path in self.scans.paths],
            "predictions": self.rows,
            "skipped": [finding.as_dict() for finding in self.scans.findings],
        }
        with replacing(self.folder / "predictions.json") as temporary:
            text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
            temporary.write_text(text + "\n", encoding="utf-8")
        self._tell()
        if not self.rows:
            given = ", ".join(map(str, self.scans.paths))
            raise ValueError(f"no slice of {given} could be used; {self.folder / 'predictions.json'} says why")

    def _settings(self) -> dict[str, Any]:
        return {
            **self.settings,
            "classes": list(self.classes),
            "checkpoint": str(self.checkpoint),
            "checkpoint_sha256": file_digest(self.checkpoint),
            "temperature": self.temperature.value,
            "temperature_origin": self.temperature.origin,
            "calibrated": self.temperature.calibrated,
        }

    def _write_table(self, path: Path) -> None:
        columns = probability_columns(self.classes)
        header = ["file", "slice", "plane", "class", *columns, *(f"calibrated_{name[2:]}" for name in columns)]
        overlays = any("overlay" in row for row in self.rows)
        with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([*header, "overlay"] if overlays else header)
            for row in self.rows:
                numbers = [*row["probabilities"].values(), *row["calibrated"].values()]
                names = [row["file"], row["slice"], row["plane"], row["class"]]
                cells = ["" if name is None else name for name in names] + [repr(number) for number in numbers]
                writer.writerow([*cells, row.get("overlay", "")] if overlays else cells)

    def _tell(self) -> None:
        counts = Counter(row["class"] for row in self.rows)
        told = ", ".join(f"{counts[name]} {name}" for name in self.classes)
        logger.info("%d slices: %s; %s", len(self.rows), told, NO_HEALTHY_CLASS)
        for group in group_findings(self.scans.findings):
            first = ", ".join(group["first"]) + (", ..." if group["count"] > len(group["first"]) else "")
            logger.warning("skipped %d: %s %s (%s)", group["count"], group["field"], group["reason"], first)
        logger.info("written: %s and predictions.json", self.folder / "predictions.csv")


def _rows(output: Any, name: str, classes: int) -> list[list[float]]:
    if not isinstance(output, Mapping):
        raise ValueError("ScanTable reads whole batches: build the evaluator with decollate=False")
    if name not in output:
        raise ValueError(f"the postprocessing leaves no {name!r} in the output, got {', '.join(output)}")
    values = output[name].as_tensor() if isinstance(output[name], MetaTensor) else output[name]
    if values.ndim != 2 or values.shape[1] != classes:
        raise ValueError(f"{name} has shape {tuple(values.shape)}, expected (B, {classes}): one column a class")
    found: list[list[float]] = values.detach().to("cpu", torch.float64).tolist()
    return found
