"""The teacher: weights that fit, and no patient of ours among those it learned from."""

import json
import logging
from os import PathLike
from pathlib import Path

from torch import nn

from kdmri_monai.data.datalist import read_datalist
from kdmri_monai.data.errors import LeakageError
from kdmri_monai.data.splits import patient_family
from kdmri_monai.networks.weights import load_weights

logger = logging.getLogger(__name__)

HOW_TO_TRAIN = (
    "train one first:\n    python -m monai.bundle run training --config_file "
    "\"['bundles/kd/configs/train.json','bundles/kd/configs/teacher.json']\" --dataset_dir D --output_dir T\n"
    "and pass --teacher_ckpt T/model.pt"
)


def load_teacher(
    network: nn.Module,
    checkpoint: str | PathLike[str],
    datalist: str | PathLike[str] | None = None,
    image_size: int | None = None,
) -> nn.Module:
    """A frozen teacher in eval mode with the weights of a checkpoint.

    Where ``run.json`` of the teacher's run lies beside the checkpoint, it is asked too: a teacher that has learned from
    patients whom the student is validated or tested on would carry them into the student.

    Args:
        network: The teacher, filled in place.
        checkpoint: Its ``model.pt``.
        datalist: ``datalist.json`` of the student's data.
        image_size: Rows of the images that the student sees, pixels.

    Raises:
        FileNotFoundError: No such checkpoint; the message says how to make one.
        ValueError: The teacher was trained at another image size.
        WeightsError: The checkpoint is damaged or of another network.
        LeakageError: The teacher was trained on patient families of the validation or test split.
    """
    checkpoint = Path(checkpoint)
    if not checkpoint.is_file():
        raise FileNotFoundError(f"teacher_ckpt: there is no file {checkpoint}; {HOW_TO_TRAIN}")
    load_weights(network, checkpoint, role="teacher_ckpt")
    record = checkpoint.with_name("run.json")
    if record.is_file():
        facts = json.loads(record.read_text(encoding="utf-8"))
        if datalist is not None:
            _refuse_leak(facts["data"]["training_families"], Path(datalist), checkpoint)
        trained_at = facts["settings"].get("image_size")
        if image_size is not None and trained_at not in (None, image_size):
            raise ValueError(
                f"teacher_ckpt {checkpoint} was trained at {trained_at} pixels and would be shown {image_size}, at "
                f"which its answers mean little: pass --image_size {trained_at}, or train a teacher at {image_size}"
            )
    else:
        logger.warning("%s has no run.json beside it: whether it has seen our test patients is not known", checkpoint)
    return network.requires_grad_(False).eval()


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
