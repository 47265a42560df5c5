"""A student that starts from the weights of another one, and none of its patients where they must not be."""

import logging
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from kdmri_monai.data.datalist import read_classes, read_datalist
from kdmri_monai.data.download import file_digests
from kdmri_monai.data.errors import LeakageError
from kdmri_monai.data.leakage import held_out_families, training_digests
from kdmri_monai.engines.pretrained_files import PretrainedFiles, pretrained_files
from kdmri_monai.engines.switches import switched_on
from kdmri_monai.networks.new_head import MIN_SHARE, load_pretrained

logger = logging.getLogger(__name__)

FACTS = "kdmri_pretrained_facts"
UNKNOWN, BY_RECORD, SAME, OTHERS = "unknown", "run.json", "the same datalist", "other patients, as was stated"


def start_from(
    network: nn.Module,
    source: str | PathLike[str] | None,
    datalist: str | PathLike[str],
    *,
    keep_head: bool | str | None = None,
    min_share: float = MIN_SHARE,
    other_patients: bool | str = False,
) -> nn.Module:
    """A student with the body of a pretrained one, and a head for the classes of its own data.

    The head is kept where the names of the classes and their order are those that the weights were trained for.

    Patients that the weights were trained on may be held out here, for validation or test, when both data sets are
    public or of one hospital. Where a ``run.json`` lies with the weights this is looked up and refused; where nothing
    tells, the record of the run says ``unknown``.

    Args:
        network: The student, freshly built, filled in place.
        source: As for ``pretrained_files``.
        datalist: ``datalist.json`` of the new data.
        keep_head: Keep the head whatever the classes are called, or in no case; a switch. ``None``: by their names.
        min_share: As for ``load_pretrained``.
        other_patients: Patients with the same id are others all the same, as ids such as ``P01`` of two hospitals are;
            a switch.

    Returns:
        The network; ``pretrained_facts`` tells what was done.

    Raises:
        FileNotFoundError: No such file, or no datalist.
        LeakageError: Weights that were trained on what is held out here.
        ValueError: Nothing is named.
        WeightsError: As for ``load_pretrained``.
    """
    if source is None:
        raise ValueError("pretrained names no weights: pass --pretrained NAME.zip, or RUN/model.pt of a run folder")
    datalist = Path(datalist)
    classes = tuple(read_classes(datalist))
    with pretrained_files(source) as files:
        training_data = _training_data(files, datalist, switched_on(other_patients), str(source))
        same = files.classes == classes
        keep = same if keep_head is None else switched_on(keep_head)
        head = load_pretrained(network, files.weights, len(classes), keep_head=keep, min_share=min_share)
        facts = {
            "file": str(source),
            "sha256": file_digests(files.weights)["sha256"],
            "classes": None if files.classes is None else list(files.classes),
            "head": list(head.names),
            "head_kept": head.kept,
            "share": round(head.share, 4),
            "training_data": training_data,
        }
    setattr(network, FACTS, facts)
    return network


def pretrained_facts(network: nn.Module) -> dict[str, Any]:
    """What ``start_from`` did to a network, for the record of its run.

    Returns:
        ``file`` and ``sha256`` of the weights, ``classes`` they were trained for (``None``: not known), ``head`` (names
        of its tensors), ``head_kept``, ``share`` of the parameters that were filled, and ``training_data``: how it is
        known that no patient of theirs is held out here, or ``unknown``.

    Raises:
        ValueError: It was not called for this network.
    """
    if FACTS not in vars(network):
        raise ValueError(f"{type(network).__name__} was not filled by start_from")
    facts: dict[str, Any] = vars(network)[FACTS]
    return facts


def _training_data(files: PretrainedFiles, datalist: Path, other_patients: bool, source: str) -> str:
    """How it is known that nothing held out here was learned from; refuses what was."""
    same = files.datalist_sha256 == file_digests(datalist)["sha256"]
    known = same
    if files.record is not None and not same:
        data = files.record.get("data", {})
        _refuse_images(Path(str(data.get("datalist", ""))), files.datalist_sha256, datalist, source)
        if not other_patients:
            _refuse_families(data.get("training_families", ()), datalist, source)
        known = "training_families" in data
    before = files.pretrained
    if before is not None and before.get("training_data") != SAME:
        known = False  # what the weights before these were trained on is not in their record
    if not known:
        logger.warning("%s: whether it has learned from patients held out here is not known; run.json says so", source)
        return UNKNOWN
    if same:
        return SAME
    return OTHERS if other_patients else BY_RECORD


def _refuse_families(learned: Sequence[str], datalist: Path, source: str) -> None:
    seen = sorted(held_out_families(read_datalist(datalist)) & set(learned))
    if seen:
        raise LeakageError(
            f"pretrained {source} was trained on {len(seen)} patient families that {datalist} holds out for validation "
            f"or test: {', '.join(seen[:5])}; split the data so that they are learned from, or, where other patients "
            "have the same ids, say so with --other_patients true"
        )


def _refuse_images(learned: Path, sha256: str | None, datalist: Path, source: str) -> None:
    """By the pixels themselves, where the datalist of the run before is still what it was."""
    if not learned.is_file() or file_digests(learned)["sha256"] != sha256:
        return
    content = read_datalist(datalist)
    held_out = {entry["sha256"]: entry["id"] for split in ("validation", "test") for entry in content[split]}
    seen = sorted(held_out[digest] for digest in held_out.keys() & training_digests(read_datalist(learned)))
    if seen:
        raise LeakageError(
            f"pretrained {source} was trained on {len(seen)} images that {datalist} holds out for validation or test: "
            f"{', '.join(seen[:5])}"
        )
