"""What was left out of a data set, and what is said of data that are kept: named, with the reason, and grouped."""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from kdmri_monai.data.errors import BadSliceError

FIRST_NAMES = 3
LEFT_OUT = "folder"
"""Field of a finding about a folder that is not part of the data set, such as ``notumor``: nothing is wrong with it."""


@dataclass(frozen=True)
class Finding:
    """Why one file, slice, archive or folder is not in the data set.

    Attributes:
        name: Where, e.g. ``brainTumorDataPublic_1766.zip/12.mat``.
        field: The part in question, e.g. ``cjdata/label``.
        reason: What was got and what is allowed.
    """

    name: str
    field: str
    reason: str

    @classmethod
    def of(cls, error: BadSliceError) -> "Finding":
        """The finding that an error stands for."""
        return cls(error.name, error.field, error.reason)

    @property
    def is_bad(self) -> bool:
        """Whether it is about bad data, at which a strict preparation stops."""
        return self.field != LEFT_OUT

    def as_error(self) -> BadSliceError:
        """The error that stands for this finding, for those who asked to stop at the first."""
        return BadSliceError(self.name, self.field, self.reason)

    def as_dict(self) -> dict[str, str]:
        """Keys ``name``, ``field`` and ``reason``, as a datalist lists them."""
        return asdict(self)


@dataclass(frozen=True)
class Remark:
    """What the user should know of something that is in the data set; attributes as those of ``Finding``."""

    name: str
    field: str
    reason: str

    def as_dict(self) -> dict[str, str]:
        """Keys ``name``, ``field`` and ``reason``."""
        return asdict(self)


def group_findings(findings: Iterable[Finding | Remark]) -> list[dict[str, Any]]:
    """Findings that say the same thing of different files, together.

    Two findings say the same when field and reason agree once numbers and quoted names are taken out.

    Args:
        findings: In any order.

    Returns:
        One dictionary a group, largest first, ties in order of appearance: ``field``, ``reason`` (of the first one),
        ``count`` and ``first`` (up to ``FIRST_NAMES`` names).
    """
    groups: dict[tuple[str, str], list[Finding | Remark]] = {}
    for finding in findings:
        key = re.sub(r"'[^']*'|\"[^\"]*\"|[-+]?\d[\d.,e+-]*", "?", finding.reason)
        groups.setdefault((finding.field, key), []).append(finding)
    return [
        {
            "field": group[0].field,
            "reason": group[0].reason,
            "count": len(group),
            "first": [finding.name for finding in group[:FIRST_NAMES]],
        }
        for group in sorted(groups.values(), key=len, reverse=True)
    ]
