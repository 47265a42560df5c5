"""The teacher: weights that fit, and no patient of ours among those it learned from."""

import json
import logging
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from kdmri_monai.data.datalist import read_datalist
from kdmri_monai.data.download import file_digests
from kdmri_monai.data.errors import LeakageError
from kdmri_monai.data.splits import patient_family
from kdmri_monai.engines.class_check import check_run_classes
from kdmri_monai.engines.switches import switched_on
from kdmri_monai.networks.weight_import import ImportRules, import_weights
from kdmri_monai.networks.weights import load_weights

logger = logging.getLogger(__name__)

HOW_TO_TRAIN = (
    "train one first:\n    python -m monai.bundle run training --config_file "
    "\"['bundles/kd/configs/train.json','bundles/kd/configs/teacher.json']\" --dataset_dir D --output_dir T\n"
    "and pass --teacher_ckpt T/model.pt"
)

FACTS = "kdmri_teacher_facts"
UNKNOWN = "unknown"


def load_teacher(
    network: nn.Module,
    checkpoint: str | PathLike[str],
    datalist: str | PathLike[str] | None = None,
    image_size: int | None = None,
    *,
    key_map: Mapping[str, str | None] | None = None,
    min_match: float = 1.0,
    leave_out: Sequence[str] = (),
    grey_stem: bool | str = False,
    data_unknown: bool | str = False,
) -> nn.Module:
    """A frozen teacher in eval mode with the weights of a checkpoint, of a run of ours or published by somebody else.

    Where ``run.json`` of the teacher's run lies beside the checkpoint, it is asked too: a teacher that has learned from
    patients whom the student is validated or tested on would carry them into the student. Of published weights nobody
    knows whether they have, so that must be accepted in so many words (``data_unknown``).

    Args:
        network: The teacher, filled in place.
        checkpoint: Its ``model.pt``, or a ``.safetensors``.
        datalist: ``datalist.json`` of the student's data.
        image_size: Rows of the images that the student sees, pixels.
        key_map: As for ``ImportRules``; ``None``, with the other three left alone, wants every name and shape to match.
        min_match: As for ``ImportRules``.
        leave_out: As for ``ImportRules``. A head that is left out answers at random: use terms on features only.
        grey_stem: As for ``ImportRules``; a switch.
        data_unknown: Accept that the teacher may have learned from patients of the validation or test split; a switch.

    Raises:
        FileNotFoundError: No such checkpoint; the message says how to make one.
        ValueError: The teacher was trained at another image size, or, with its head, for other classes.
        WeightsError: The checkpoint is damaged or of another network, or fills less than ``min_match`` of it.
        LeakageError: The teacher was trained on patient families of the validation or test split; or there is no record
            of what it was trained on, and ``data_unknown`` is off.
    """
    checkpoint = Path(checkpoint)
    if not checkpoint.is_file():
        raise FileNotFoundError(f"teacher_ckpt: there is no file {checkpoint}; {HOW_TO_TRAIN}")
    rules = ImportRules(key_map or {}, min_match, tuple(leave_out), switched_on(grey_stem))
    imported = None
    if key_map is None and rules == ImportRules():
        load_weights(network, checkpoint, role="teacher_ckpt")
    else:
        imported = import_weights(network, checkpoint, rules, role="teacher_ckpt").as_dict()
    record = checkpoint.with_name("run.json")
    if record.is_file():
        _refuse_by_record(json.loads(record.read_text(encoding="utf-8")), datalist, image_size, checkpoint)
        if datalist is not None and not leave_out:
            check_run_classes(checkpoint, datalist, role="teacher_ckpt")
    elif datalist is not None:
        _refuse_unknown_data(checkpoint, accepted=switched_on(data_unknown))
    if imported is not None or not record.is_file():
        data = "run.json" if record.is_file() else UNKNOWN
        sha256 = file_digests(checkpoint)["sha256"]
        setattr(network, FACTS, {"sha256": sha256, "training_data": data, "imported": imported})
    return network.requires_grad_(False).eval()


def teacher_facts(teacher: nn.Module | None) -> list[dict[str, Any]] | None:
    """What ``load_teacher`` had to note of a teacher, or of the members of an ensemble, for the record of a run.

    Returns:
        For every one of them ``sha256`` of the file, ``training_data`` (``unknown`` or ``run.json``) and ``imported``,
        the fields of ``ImportReport`` or ``None``; ``None`` where all come from runs of ours as they are.
    """
    if teacher is None:
        return None
    return [vars(module)[FACTS] for module in teacher.modules() if FACTS in vars(module)] or None


def _refuse_by_record(
    facts: dict[str, Any], datalist: str | PathLike[str] | None, image_size: int | None, checkpoint: Path
) -> None:
    if datalist is not None:
        _refuse_leak(facts["data"]["training_families"], Path(datalist), checkpoint)
    trained_at = facts["settings"].get("image_size")
    if image_size is not None and trained_at not in (None, image_size):
        raise ValueError(
            f"teacher_ckpt {checkpoint} was trained at {trained_at} pixels and would be shown {image_size}, at "
            f"which its answers mean little: pass --image_size {trained_at}, or train a teacher at {image_size}"
        )


def _refuse_unknown_data(checkpoint: Path, accepted: bool) -> None:
    told = f"{checkpoint} has no run.json beside it: whether it has seen our validation and test patients is not known"
    if not accepted:
        raise LeakageError(
            f"teacher_ckpt {told}. Keep a run's files together; for weights that others have published, accept it with "
            "--teacher_data_unknown true: the record of the run and kdmri compare will say so"
        )
    logger.warning("%s; results of its students may be too good, and run.json says so", told)


def _refuse_leak(learned: list[str], datalist: Path, checkpoint: Path) -> None:
    content = read_datalist(datalist)
    entries = [entry for split in ("validation", "test") for entry in content[split]]
    # the family of an entry may be that of another patient who shares an image, so both names count
    held_out = {name for entry in entries for name in (entry["family"], patient_family(entry["patient"]))}
    seen = sorted(held_out & set(learned))
    if seen:
        raise LeakageError(
            f"teacher_ckpt {checkpoint} was trained on {len(seen)} patient families that {datalist} holds out for "
            f"validation or test: {', '.join(seen[:5])}; train the teacher on the same datalist"
        )
