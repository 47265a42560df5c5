"""The temperature that makes the probabilities of a run as sure as they are right, found on its validation patients."""

import json
import logging
import warnings
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from kdmri_monai.data.atomic import write_atomically
from kdmri_monai.evaluation.evidence_file import evidence_path, read_evidence
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.predictions_file import read_predictions, write_predictions
from kdmri_monai.evaluation.slice_batches import Answers, answer, read_batch
from kdmri_monai.evaluation.subject import file_digest, open_run
from kdmri_monai.evaluation.temperature import fit_table_temperature

logger = logging.getLogger(__name__)

TABLE, KEPT = "validation_predictions.csv", "temperature.json"


class RunTemperature:
    """A temperature, fitted when it is first asked for.

    It is fitted to the run's ``validation_predictions.csv`` where the run's evidence says that it is of these weights;
    else the validation patients are asked and the table is written, where the dataset is still where the run found it;
    else to a table of which nobody says what weights it is of. What was fitted is kept in ``temperature.json`` beside
    the weights and read again while they are the same. Where there is no table, and where the fit says nothing (every
    slice right), the temperature is 1, and ``origin`` says why.

    Args:
        folder: Folder of a run.
        checkpoint: The weights; its ``model.pt`` by default.
        given: Temperature that is to be taken as it is.
        device: Where the validation patients are asked.

    Raises:
        ValueError: ``given`` is not a positive number.
    """

    def __init__(
        self,
        folder: str | PathLike[str],
        checkpoint: str | PathLike[str] | None = None,
        given: float | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        if given is not None and not 0 < given < float("inf"):
            raise ValueError(f"temperature is {given}, a positive number is needed")
        self.folder, self.given, self.device = Path(folder), given, torch.device(device)
        self.checkpoint = self.folder / "model.pt" if checkpoint is None else Path(checkpoint)

    @property
    def value(self) -> float:
        """By what logits are to be divided."""
        return self._found[0]

    @property
    def origin(self) -> str:
        """Where the value comes from, for people."""
        return self._found[1]

    @property
    def calibrated(self) -> bool:
        """Whether the value was fitted or given, and not put in for want of anything better."""
        return not self.origin.startswith("not calibrated")

    @cached_property
    def _found(self) -> tuple[float, str]:
        if self.given is not None:
            return float(self.given), "given"
        try:
            digest = self._digest()
            return self._kept(digest) or self._fitted(digest)
        except (OSError, ValueError) as error:
            return self._none(" ".join(str(error).split()))

    def _none(self, reason: str) -> tuple[float, str]:
        logger.warning("probabilities are not calibrated: %s", reason)
        return 1.0, f"not calibrated: {reason}"

    def _digest(self) -> str:
        """SHA-256 of the weights, which must be those of the run."""
        own = self.folder / "model.pt"
        if not self.checkpoint.is_file():
            raise FileNotFoundError(f"there is no {self.checkpoint}")
        digest = file_digest(self.checkpoint)
        if not own.is_file() or file_digest(own) != digest:
            raise ValueError(f"{self.checkpoint} does not hold the weights of the run in {self.folder}")
        return digest

    def _kept(self, digest: str) -> tuple[float, str] | None:
        """What was fitted to these weights before, where it can be read."""
        path = self.folder / KEPT
        try:
            content: Any = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            same = content.get("checkpoint_sha256") == digest
            return (float(content["temperature"]), str(content["origin"])) if same else None
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            logger.warning("%s is not of the form that is written here and is replaced: %s", path, error)
            return None

    def _fitted(self, digest: str) -> tuple[float, str]:
        table, whose = self._table(digest)
        counts = f"{len(table):,} slices of {len(set(table.family.tolist()))} patient families"
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            value = fit_table_temperature(table)
        if any("at its bound" in str(one.message) for one in heard):
            return self._none(f"{counts} of validation do not tell how sure the network should be")
        found = {"temperature": value, "origin": f"fitted to {counts} of validation{whose}"}
        content = json.dumps(found | {"checkpoint_sha256": digest}, indent=1) + "\n"
        write_atomically(self.folder / KEPT, content.encode())
        return value, str(found["origin"])

    def _table(self, digest: str) -> tuple[Predictions, str]:
        """What these weights say of the validation patients, and what is to be said of the table."""
        path, weights = self.folder / TABLE, self._weights_of_table()
        if path.is_file() and weights == digest:
            return read_predictions(path), ""
        try:
            table = self._asked()
        except (OSError, ValueError):
            if not path.is_file() or weights is not None:
                raise
            return read_predictions(path), f" (by {TABLE}, of which no evidence says what weights it is of)"
        write_predictions(table, path)
        return table, ""

    def _weights_of_table(self) -> str | None:
        """SHA-256 of the weights that an examination wrote the table with; ``None`` where that is not known."""
        try:
            section = read_evidence(evidence_path(self.folder, "test")).get("predictions", {})
        except ValueError:  # of an earlier version
            return None
        found: str | None = section.get("provenance", {}).get("checkpoint_sha256")
        return found

    def _asked(self) -> Predictions:
        subject = open_run(self.folder, self.device)
        answers = Answers(subject.classes)
        for batch in subject.batches("validation"):
            slices = read_batch(batch, subject.device)
            answers.add(slices, {"validation": answer(subject.network, slices)})
        return answers.tables()["validation"]
