"""Which taps of a student and a teacher go together, measured on data."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.utils.enums import CommonKeys as Keys
from numpy.typing import NDArray
from torch import Tensor, nn

from kdmri_monai.evaluation.cka import MIN_SAMPLES, CKAMatrix, propose_pairing
from kdmri_monai.networks.dry_run import evaluating
from kdmri_monai.networks.taps import FeatureTaps, TapSpec

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TapPairing:
    """CKA of all taps and the proposed pairs.

    Attributes:
        matrix: Shape ``(S, T)``.
        student_names: Labels of the student's taps, S of them.
        teacher_names: Labels of the teacher's taps, T of them.
        pairs: Index of the student tap and of the teacher tap.
        samples: Images that were compared.
    """

    matrix: NDArray[np.float64]
    student_names: tuple[str, ...]
    teacher_names: tuple[str, ...]
    pairs: list[tuple[int, int]]
    samples: int


@torch.no_grad()
def pair_taps(
    student: nn.Module,
    teacher: nn.Module,
    student_taps: Sequence[TapSpec],
    teacher_taps: Sequence[TapSpec],
    batches: Iterable[dict[str, Any]],
    device: torch.device,
) -> TapPairing:
    """Run both networks over a data set in eval mode and pair their taps by CKA (``propose_pairing``).

    Args:
        student: A network on ``device``; a network with ``privileged_keys`` is given those of the batch too.
        teacher: The same for the teacher.
        student_taps: Where to read, from shallow to deep.
        teacher_taps: The same for the teacher.
        batches: Batches with ``image``, shape ``(B, C, *spatial)``. Those of fewer than four samples, such as the
            rest of a data set, are left out, and logged.
        device: Where the images go.

    Raises:
        ValueError: A tap is wrong, no batch has four samples, or a tap gives the same for all samples.
    """
    matrix = CKAMatrix()
    readers: list[_Reader] = []
    with evaluating(student, teacher):
        for batch in batches:
            image = _plain(batch[Keys.IMAGE]).to(device)
            if len(image) < MIN_SAMPLES:
                logger.warning("a batch of %d samples is too small for CKA and left out", len(image))
                continue
            if not readers:
                sides = (student, student_taps), (teacher, teacher_taps)
                readers = [_Reader(network, FeatureTaps(network, taps, image.shape[1:])) for network, taps in sides]
            matrix.update(*(reader(image, batch) for reader in readers))
    if not readers:
        raise ValueError(f"CKA wants a batch of at least {MIN_SAMPLES} samples; there is none")
    names, teacher_names = ([tap.label for tap in reader.taps.taps] for reader in readers)
    values = matrix.compute()
    _refuse_constant(values, names, teacher_names)
    return TapPairing(values, tuple(names), tuple(teacher_names), propose_pairing(values), matrix.samples)


@dataclass(frozen=True)
class _Reader:
    """A network and where it is read."""

    network: nn.Module
    taps: FeatureTaps

    def __call__(self, image: Tensor, batch: dict[str, Any]) -> list[Tensor]:
        keys = getattr(self.network, "privileged_keys", ())
        with self.taps.collect() as features:
            self.network(image, **{key: _plain(batch[key]).to(image.device) for key in keys})
        return features


def _refuse_constant(matrix: NDArray[np.float64], names: Sequence[str], teacher_names: Sequence[str]) -> None:
    missing: NDArray[np.bool_] = np.isnan(matrix)
    rows, columns = np.all(missing, axis=1).tolist(), np.all(missing, axis=0).tolist()
    constant = [f"{name} of the student" for name, bad in zip(names, rows, strict=True) if bad]
    constant += [f"{name} of the teacher" for name, bad in zip(teacher_names, columns, strict=True) if bad]
    if constant:
        raise ValueError(f"taps that give the same for all samples cannot be compared: {', '.join(constant)}")


def _plain(value: Tensor) -> Tensor:
    return value.as_tensor() if isinstance(value, MetaTensor) else value
