"""Teachers that take turns, so that every patient is taught by one that did not learn from that patient.

A teacher that has memorised its training patients answers them one-hot, which tells a student nothing but the label.

Source: cross-fitting, Chernozhukov et al., "Double/debiased machine learning for treatment and structural parameters",
    Econometrics Journal 2018, definition 3.1; for distillation Dao et al., "Knowledge distillation as semiparametric
    inference", ICLR 2021.
"""

import copy
import json
from collections.abc import Collection, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdmri_monai.data.datalist import read_datalist
from kdmri_monai.data.splits import patient_family
from kdmri_monai.engines.teacher import load_teacher
from kdmri_monai.networks.ensembles import mean_log_probabilities, own_privileged, union_of_privileged_keys

SHOWN = 5
"""How many families a message names."""


class CrossFittedTeacher(nn.Module):
    """Members trained on different parts of the patients; a sample is answered by those that do not know its family.

    In training that is one member. Families that no member has learned from, such as those of the validation split,
    are answered by the mean of all members' probabilities. The channels of members do not correspond, so terms that
    compare channels cannot use their features.

    Args:
        members: Networks that give logits ``(B, K)``.
        families: For every member the patient families that it was trained on.

    Raises:
        ValueError: No members, or not one set of families for each.
    """

    def __init__(self, members: Sequence[nn.Module], families: Sequence[Collection[str]]) -> None:
        super().__init__()
        if not members or len(members) != len(families):
            raise ValueError(f"{len(members)} members and {len(families)} sets of training families: one set each")
        self.members = nn.ModuleList(members)
        self.families = tuple(frozenset(learned) for learned in families)

    @property
    def privileged_keys(self) -> tuple[str, ...]:
        """Keys of the batch that ``forward`` wants beside the image."""
        return tuple(dict.fromkeys(["family", *union_of_privileged_keys(self.members)]))

    def turns(self, family: Sequence[str]) -> list[list[int]]:
        """Places in the batch that each member answers, ascending.

        Args:
            family: Patient family of every sample.

        Raises:
            ValueError: Every member was trained on one of the families.
        """
        known = sorted({name for name in family if all(name in learned for learned in self.families)})
        if known:
            raise ValueError(f"every member of the cross-fitted teacher was trained on {_few(known)}")
        return [[place for place, name in enumerate(family) if name not in learned] for learned in self.families]

    def forward(self, image: Tensor, family: Sequence[str], **privileged: Any) -> Tensor:
        """Logits, shape ``(B, K)``, which are log-probabilities.

        Args:
            image: Shape ``(B, C, *spatial)``.
            family: Patient family of every sample.
            **privileged: What members want beside the image: tensors ``(B, ...)`` or sequences of B items.

        Raises:
            ValueError: Not one family a sample, one that every member was trained on, or something that a member
                wants is missing.
        """
        if len(family) != len(image):
            raise ValueError(f"{len(family)} families for {len(image)} images")
        turns = self.turns(family)
        answers: list[Tensor] = []
        weights = torch.zeros(len(turns), len(image), device=image.device)
        for number, (member, places) in enumerate(zip(self.members, turns, strict=True)):
            if places:
                own = own_privileged(member, {"family": family, **privileged})
                logits = member(image[places], **{key: _share(value, places) for key, value in own.items()})
                answers.append(_spread(logits, places, len(image)))
                weights[number, places] = 1
        weights = weights[[bool(places) for places in turns]]
        return mean_log_probabilities(torch.stack(answers), weights / weights.sum(dim=0))

    def extra_repr(self) -> str:
        """How many families each member was trained on."""
        return f"families={[len(learned) for learned in self.families]}"


def load_crossfitted(
    network: nn.Module,
    checkpoints: Sequence[str | PathLike[str]],
    datalist: str | PathLike[str],
    image_size: int | None = None,
) -> CrossFittedTeacher:
    """A frozen cross-fitted teacher from the runs that trained its members, each on another part (``crossfit``).

    Args:
        network: The network of all members; it is copied for each.
        checkpoints: ``model.pt`` of every member, with the ``run.json`` of its run beside it.
        datalist: ``datalist.json`` of the student's data.
        image_size: Rows of the images that the student sees, pixels.

    Raises:
        FileNotFoundError: No such checkpoint, or none of its ``run.json``.
        ValueError: No checkpoints; some training families were learned from by every member; or as ``load_teacher``.
        WeightsError: A checkpoint is damaged or of another network.
        LeakageError: A member was trained on patient families of the validation or test split.
    """
    # a member without a record is refused below, in words of its own
    members = [
        load_teacher(copy.deepcopy(network), path, datalist, image_size, data_unknown=True) for path in checkpoints
    ]
    names = _names_of_families(Path(datalist))
    learned = []
    for path in checkpoints:
        trained_on = _trained_on(Path(path))
        learned.append({family for family, others in names.items() if others & trained_on})
    teacher = CrossFittedTeacher(members, learned)
    teacher.turns(list(names))  # every family finds a member, or training would stop at the first that does not
    return teacher.requires_grad_(False).eval()


def _trained_on(checkpoint: Path) -> set[str]:
    record = checkpoint.with_name("run.json")
    if not record.is_file():
        raise FileNotFoundError(
            f"{checkpoint} has no run.json beside it, which says from which families this member of the cross-fitted "
            "teacher has learned: keep a run's files together"
        )
    return set(json.loads(record.read_text(encoding="utf-8"))["data"]["training_families"])


def _names_of_families(datalist: Path) -> dict[str, set[str]]:
    """All names under which a training family may be known to a teacher of another datalist, as in ``load_teacher``."""
    names: dict[str, set[str]] = {}
    for entry in read_datalist(datalist)["training"]:
        names.setdefault(entry["family"], {entry["family"]}).add(patient_family(entry["patient"]))
    return names


def _share(value: Any, places: list[int]) -> Any:
    return value[places] if isinstance(value, Tensor) else [value[place] for place in places]


def _spread(logits: Tensor, places: list[int], samples: int) -> Tensor:
    """Log-probabilities at their places in the batch, zeros elsewhere, shape ``(B, K)``, float32 or better."""
    answers = torch.log_softmax(logits, dim=1, dtype=torch.promote_types(logits.dtype, torch.float32))
    whole = answers.new_zeros(samples, answers.shape[1])
    return whole.index_copy(0, torch.tensor(places, device=answers.device), answers)


def _few(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
