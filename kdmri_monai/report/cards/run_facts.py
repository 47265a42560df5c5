"""Everything that a run folder can say of itself for a card or a checklist."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdmri_monai.data.datalist import class_names, read_datalist
from kdmri_monai.evaluation.run_folder import RunFolder
from kdmri_monai.evaluation.subject import file_digest
from kdmri_monai.report.cards.data_facts import data_facts
from kdmri_monai.report.cards.result_facts import result_facts
from kdmri_monai.report.cards.training_facts import training_facts
from kdmri_monai.report.class_words import intended_use, limitations


@dataclass(frozen=True)
class RunFacts:
    """What is known of a run.

    Attributes:
        name: Name of the run folder.
        split: Split that it was tested on.
        facts: Sentences by name, see ``claim_items``.
        metrics: Content of ``{split}_metrics.json``.
        sections: Sections of the evidence.
        sees_mask: What the network is given beside the image; empty for the image alone.
    """

    name: str
    split: str
    facts: Mapping[str, str]
    metrics: Mapping[str, Any]
    sections: Mapping[str, Mapping[str, Any]]
    sees_mask: str


def run_facts(folder: Path, split: str = "test", datalist: Path | None = None) -> RunFacts:
    """Reads a run folder.

    Args:
        folder: Folder of a run that was evaluated; its configuration is read and not executed.
        split: Split that it was evaluated on.
        datalist: Where the datalist is now; the path in ``run.json`` by default.

    Raises:
        FileNotFoundError: A file is missing: ``run.json``, ``config.json``, the metrics or the datalist.
        ValueError: A file is of another form, or the datalist is another one than the run's.
    """
    run = RunFolder(Path(folder))
    metrics = run.metrics(split)
    if metrics is None:
        raise FileNotFoundError(f"there is no {run.path / f'{split}_metrics.json'}; evaluate the run first")
    if run.config is None or not run.data.get("datalist"):
        raise ValueError(f"{run.path}: has no config.json, or run.json names no datalist: not a run of the bundle")
    path = Path(datalist or run.data["datalist"])
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}; say where the dataset folder is now")
    digest = file_digest(path)
    if digest != run.data["sha256"]:
        raise ValueError(f"{path} is not the datalist of {run.path}: its SHA-256 differs from data.sha256 in run.json")
    sections = run.evidence(split) or {}
    datalist_content = read_datalist(path)
    facts = (
        data_facts(datalist_content, digest, int(run.settings["image_size"]))
        | training_facts(run.record, run.config, run.history, sections.get("efficiency"), class_names(datalist_content))
        | result_facts(metrics, sections, _validation(run))
        | {"intended_use": intended_use(metrics["classes"]), "limitations": limitations(metrics["classes"])}
    )
    return RunFacts(run.path.resolve().name, split, facts, metrics, sections, run.given)


def _validation(run: RunFolder) -> dict[str, float]:
    """Metrics on the validation slices at the best epoch, by name."""
    best = None if run.history is None else run.history.best()
    if run.history is None or best is None:
        return {}
    names = ("accuracy", "balanced_accuracy")
    return {name.replace("_", " "): float(run.history.column("validation", name)[best]) for name in names}
