"""Examines a trained network part by part: what it says, what that rests on, where it looks, what it bears and costs.

Each part writes its result before the next one begins, so an examination that was interrupted goes on where it stopped,
and a part is not done again for the same weights and slices.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kdmri_monai.evaluation.control_rows import ControlRow
from kdmri_monai.evaluation.efficiency import efficiency
from kdmri_monai.evaluation.evidence_file import evidence_path, is_of, read_evidence, write_section
from kdmri_monai.evaluation.heat_file import write_heat
from kdmri_monai.evaluation.leakage import leakage_controls
from kdmri_monai.evaluation.localisation_evidence import localise
from kdmri_monai.evaluation.low_level import low_level_controls
from kdmri_monai.evaluation.metrics_file import evaluate_predictions, write_metrics
from kdmri_monai.evaluation.network_controls import network_controls
from kdmri_monai.evaluation.pairing import aligned
from kdmri_monai.evaluation.permuted_labels import permuted_network_row, permuted_training_control
from kdmri_monai.evaluation.predicted_mask_evidence import predicted_mask
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.predictions_file import read_predictions, write_predictions
from kdmri_monai.evaluation.resampling import Resampling
from kdmri_monai.evaluation.robustness import robustness
from kdmri_monai.evaluation.slice_batches import Answers, answer, read_batch
from kdmri_monai.evaluation.source_probe import source_controls
from kdmri_monai.evaluation.subject import Subject

Found = dict[str, Any]
SAME_WITHIN = 0.02
"""How far probabilities of the same weights may lie apart, as those of mixed precision do from those of float32."""


@dataclass(frozen=True, eq=False)
class Examination:
    """What is examined, and where the results go.

    Attributes:
        subject: Network and slices.
        folder: Folder of the run, which gets ``{split}_predictions.csv``, ``validation_predictions.csv``,
            ``{split}_metrics.json``, ``{split}_evidence.json`` and ``{split}_heat.npz``.
        split: Split that is examined.
        resampling: How the intervals are found.
        overwrite: Whether the parts that are asked for are done again, and files of other weights or of an earlier
            version replaced.
        shared: Results of parts that hang on the slices alone, for the next network that is asked about the same.
    """

    subject: Subject
    folder: Path
    split: str = "test"
    resampling: Resampling = field(default_factory=Resampling)
    overwrite: bool = False
    shared: dict[str, Found] = field(default_factory=dict)

    def run(self, parts: Sequence[str] | None = None) -> Iterator[tuple[str, bool]]:
        """Does the parts one after another.

        Args:
            parts: Some of ``PARTS``; all by default.

        Yields:
            Name of a part and whether it is done: False before it begins, True after its result is written; True alone
            for one that was there already.

        Raises:
            ValueError: An unknown part, or predictions in the folder that are not of these weights.
        """
        chosen = list(PARTS) if parts is None else list(parts)
        unknown = [name for name in chosen if name not in PARTS]
        if unknown:
            raise ValueError(f"part {unknown[0]!r} is not known, allowed are {', '.join(PARTS)}")
        path = evidence_path(self.folder, self.split)
        if self.overwrite:
            _forget_other_format(path)
        origin = self.subject.provenance()
        for name in chosen:
            if not self.overwrite and name != "predictions" and is_of(read_evidence(path).get(name, {}), origin):
                yield name, True
                continue
            yield name, False
            found = PARTS[name](self)
            write_section(path, name, found, origin, self.resampling)
            yield name, True


def _forget_other_format(path: Path) -> None:
    """Removes an evidence file that cannot be added to, such as one of an earlier version."""
    try:
        read_evidence(path)
    except ValueError:
        path.unlink()


def _predictions(examination: Examination) -> Found:
    """Tables of the split and of the validation slices, and the metrics of the split."""
    subject, folder = examination.subject, examination.folder
    written = {}
    for split in dict.fromkeys((examination.split, "validation")):
        table = _asked(subject, split)
        path = folder / f"{split}_predictions.csv"
        if examination.overwrite or not path.is_file():
            write_predictions(table, path)
        else:
            _check_same(read_predictions(path), table, path)
        written[split] = len(table)
        metrics = folder / f"{split}_metrics.json"
        if split == examination.split and (examination.overwrite or not metrics.is_file()):
            resampling = examination.resampling
            found = evaluate_predictions(table, resampling.seed, resampling.replicates, resampling.level)
            write_metrics(found, metrics, {**subject.provenance(), "split": split})
    return {"slices": written}


def _asked(subject: Subject, split: str) -> Predictions:
    answers = Answers(subject.classes)
    for batch in subject.batches(split):
        slices = read_batch(batch, subject.device)
        answers.add(slices, {split: answer(subject.network, slices)})
    return answers.tables()[split]


def _check_same(before: Predictions, now: Predictions, path: Path) -> None:
    apart = float(np.abs(aligned(now, before).probabilities - before.probabilities).max())
    if apart > SAME_WITHIN:
        raise ValueError(
            f"{path} does not hold what these weights say: probabilities differ by up to {apart:.2g}; evaluate the run "
            "again, or examine it with --overwrite"
        )


def _network_controls(examination: Examination) -> Found:
    subject = examination.subject
    batches = subject.batches(examination.split)
    rows = network_controls(subject.network, batches, subject.device, subject.classes, examination.resampling)
    table = _asked(subject, examination.split)
    return _rows([*rows, permuted_network_row(table, examination.resampling)])


def _source_probe(examination: Examination) -> Found:
    subject = examination.subject
    batches = subject.batches(examination.split)
    return _rows(source_controls(subject.network, batches, subject.device, subject.classes, examination.resampling))


def _data_controls(examination: Examination) -> Found:
    subject = examination.subject
    given = subject.batches, subject.classes, examination.resampling
    key = f"data_controls/{subject.provenance()['datalist_sha256']}/{subject.image_shape}/{examination.split}"
    if key not in examination.shared:
        rows = [*low_level_controls(*given), permuted_training_control(*given), *leakage_controls(*given)]
        examination.shared[key] = _rows(rows)
    return examination.shared[key]


def _localisation(examination: Examination) -> Found:
    subject = examination.subject
    section, maps = localise(
        subject.network,
        subject.batches,
        subject.device,
        examination.split,
        layer=subject.cam_layer,
        classes=subject.classes,
        resampling=examination.resampling,
    )
    if maps is not None:
        write_heat(maps, examination.folder / f"{examination.split}_heat.npz")
    return section


def _predicted_mask(examination: Examination) -> Found:
    subject = examination.subject
    batches = subject.batches(examination.split)
    return predicted_mask(subject.network, batches, subject.device, subject.classes, examination.resampling)


def _robustness(examination: Examination) -> Found:
    subject = examination.subject
    batches = subject.batches(examination.split)
    return robustness(subject.network, batches, subject.device, subject.classes, examination.resampling)


def _efficiency(examination: Examination) -> Found:
    subject = examination.subject
    return efficiency(subject.network, subject.image_shape, subject.checkpoint)


def _rows(rows: Sequence[ControlRow]) -> Found:
    return {"rows": [row.as_dict() for row in rows]}


PARTS: dict[str, Callable[[Examination], Found]] = {
    "predictions": _predictions,
    "network_controls": _network_controls,
    "source_probe": _source_probe,
    "data_controls": _data_controls,
    "localisation": _localisation,
    "predicted_mask": _predicted_mask,
    "robustness": _robustness,
    "efficiency": _efficiency,
}
"""Parts of an examination, in their order."""
