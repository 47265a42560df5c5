"""Which features go to which term, and the refusal of terms that the networks cannot serve."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from kdmri_monai.engines.crossfit import CrossFittedTeacher
from kdmri_monai.losses.terms import DistillationTerm
from kdmri_monai.losses.weighting import WeightedTerm
from kdmri_monai.networks.dry_run import dry_run
from kdmri_monai.networks.taps import FeatureTaps, Tap, TapSpec, tap_shapes

ImageShape = Sequence[int]


@dataclass(frozen=True)
class Wiring:
    """Places of one term's features among all that are read of a network.

    Attributes:
        student: Indices into the student's features.
        teacher: Indices into the teacher's.
    """

    student: tuple[int, ...] = ()
    teacher: tuple[int, ...] = ()


@dataclass(frozen=True)
class Wired:
    """What is read of both networks, every tap once, and which term gets what.

    Attributes:
        student_taps: All taps of the student.
        teacher_taps: All taps of the teacher.
        places: By name of the term.
    """

    student_taps: tuple[Tap, ...]
    teacher_taps: tuple[Tap, ...]
    places: dict[str, Wiring]


def wire_terms(
    student: nn.Module,
    teacher: nn.Module | None,
    terms: Sequence[WeightedTerm],
    student_taps: Sequence[TapSpec],
    teacher_taps: Sequence[TapSpec],
    image_shape: ImageShape,
) -> Wired:
    """Find the shapes of every term's taps by dry runs, let it build its layers, and say where its features come from.

    Args:
        student: The student.
        teacher: The teacher, if there is one.
        terms: The terms; each is built.
        student_taps: Taps of terms that name none.
        teacher_taps: The same for the teacher.
        image_shape: Channels and spatial size of one image.

    Raises:
        ValueError: A term lacks what it needs; the message says what the term wants and what the network gives.
    """
    num_classes = int(dry_run(student, image_shape).shape[1])
    all_student: dict[Tap, int] = {}
    all_teacher: dict[Tap, int] = {}
    places = {}
    for weighted in terms:
        term, label = weighted.term, weighted.name
        if term.needs_teacher and teacher is None:
            raise ValueError(f"`{label}` wants a teacher; there is none")
        read = _Reading(label, term, image_shape)
        mine, shapes = read(student, weighted.taps.get("student", student_taps))
        theirs, teacher_shapes = _read_teacher(read, teacher, weighted.taps.get("teacher", teacher_taps))
        try:
            term.build(shapes, teacher_shapes, num_classes)
        except ValueError as error:
            raise ValueError(
                f"`{label}`: {error}; student gives {_listed(mine, shapes)}; teacher gives "
                f"{_listed(theirs, teacher_shapes)}"
            ) from error
        places[label] = Wiring(_places(all_student, mine), _places(all_teacher, theirs))
    return Wired(tuple(all_student), tuple(all_teacher), places)


@dataclass(frozen=True)
class _Reading:
    """The dry run of one term's taps on a network."""

    label: str
    term: DistillationTerm
    image_shape: ImageShape

    def __call__(self, network: nn.Module, specs: Sequence[TapSpec]) -> tuple[tuple[Tap, ...], list[torch.Size]]:
        if self.term.wants == "logits":
            return (), []
        try:
            taps = FeatureTaps(network, specs, self.image_shape).taps
            shapes = tap_shapes(network, taps, self.image_shape)
        except ValueError as error:
            raise ValueError(f"`{self.label}` wants {self.term.wants}; {error}") from error
        for tap, shape in zip(taps, shapes, strict=True):
            if self.term.wants == "maps" and len(shape) < 2:
                raise ValueError(
                    f"`{self.label}` wants maps; `{tap.module}` gives vectors of {shape[0]}: tap a module before the "
                    "pooling"
                )
        return taps, shapes


def _read_teacher(
    read: _Reading, teacher: nn.Module | None, specs: Sequence[TapSpec]
) -> tuple[tuple[Tap, ...], list[torch.Size]]:
    if teacher is None or not (read.term.needs_teacher and read.term.taps_teacher) or read.term.wants == "logits":
        return (), []
    if not getattr(teacher, "gives_features", True):
        raise ValueError(f"`{read.label}` wants {read.term.wants}; a {type(teacher).__name__} gives logits only")
    if isinstance(teacher, CrossFittedTeacher):
        if read.term.compares_channels:
            raise ValueError(
                f"`{read.label}` compares channels; teachers that take turns (cross-fitting) learned theirs apart, so "
                "channel 5 of one is not channel 5 of the other: use terms on logits, `token_gram` or `at`"
            )
        return read(teacher.members[0], specs)
    return read(teacher, specs)


def _places(all_taps: dict[Tap, int], taps: Sequence[Tap]) -> tuple[int, ...]:
    return tuple(all_taps.setdefault(tap, len(all_taps)) for tap in taps)


def _listed(taps: Sequence[Tap], shapes: Sequence[torch.Size]) -> str:
    if not taps:
        return "nothing, for want of taps"
    return ", ".join(
        f"`{tap.module}` {' x '.join(str(n) for n in shape)}" for tap, shape in zip(taps, shapes, strict=True)
    )
