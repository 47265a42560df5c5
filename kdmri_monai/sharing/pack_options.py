"""What may be chosen when a student is packed, and what came of it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kdmri_monai.sharing.exports import FORMS

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
UNNAMED = "Who packed this bundle"

FIGSHARE = "figshare"
"""In place of a file: the training data are the brain tumour set of Cheng, CC BY 4.0."""


class PackError(ValueError):
    """A run that cannot be packed as was asked for."""


@dataclass(frozen=True)
class PackOptions:
    """Choices of who packs.

    Attributes:
        version: Of the bundle; parts of one digit, since MONAI compares versions as texts.
        changes: What is new in it.
        authors: Who packed it, and whose the weights are.
        forms: Files of ``models/`` beside the state dict, of ``exports.FORMS``.
        program: Pack the exported program where stock targets cannot build the network.
        data_license: File with the licence of the training data, or ``FIGSHARE`` for the published set.
        key: Private key that signs the manifest.
        with_package: Networks of this package may be named; who opens the bundle needs it.
    """

    version: str = "0.1.0"
    changes: str = "first version"
    authors: str = UNNAMED
    forms: Sequence[str] = FORMS
    program: bool = False
    data_license: str | None = None
    key: Path | None = None
    with_package: bool = False

    def __post_init__(self) -> None:
        if unknown := [form for form in self.forms if form not in FORMS]:
            raise PackError(f"unknown form {', '.join(unknown)}, allowed are {', '.join(FORMS)}")
        if not re.fullmatch(r"\d(\.\d){2}", self.version):
            raise PackError(f"version is {self.version!r}, expected are three parts of one digit, like 0.1.0")
        if not self.authors.strip() or not self.changes.strip():
            raise PackError("authors and changes are stated in the metadata, and cannot be empty")


@dataclass(frozen=True)
class Packed:
    """What was packed.

    Attributes:
        path: The archive.
        sizes: Bytes by file.
        gaps: Largest difference of a probability to the network, by form.
        temperature: By what logits are divided.
        calibration: Where it comes from.
        trust: Where the trust profile comes from, or why there is none.
        remarks: What the one who packs should know.
    """

    path: Path
    sizes: Mapping[str, int]
    gaps: Mapping[str, float]
    temperature: float
    calibration: str
    trust: str
    remarks: tuple[str, ...]
