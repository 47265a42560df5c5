"""What an audit has to say of one place in a bundle, and how bad it is."""

from dataclasses import asdict, dataclass

DANGER, WARNING, REMARK, OK = "danger", "warning", "remark", "ok"
LEVELS = (DANGER, WARNING, REMARK, OK)
"""Worst first. A bundle is safe when nothing of the first is found."""

KNOWN = "known component"
HARMLESS = "harmless expression"
ARBITRARY = "can run arbitrary code"
VERDICTS = (KNOWN, HARMLESS, ARBITRARY)

TEXT = 200
"""Most characters of a bundle's own text that are repeated to the user."""


@dataclass(frozen=True)
class Verdict:
    """What is thought of an expression or a target.

    Attributes:
        kind: One of ``VERDICTS``.
        reason: Why it can run arbitrary code; empty for the other two.
    """

    kind: str
    reason: str = ""

    @property
    def harmless(self) -> bool:
        """Whether it cannot run code of the bundle's maker."""
        return self.kind != ARBITRARY


@dataclass(frozen=True)
class AuditFinding:
    """One thing found.

    Attributes:
        level: One of ``LEVELS``.
        group: What it is about: archive, files, configuration, weights, manifest, signature, licence or metadata.
        file: Path inside the bundle, empty for the bundle as a whole.
        id: Where in the file, e.g. ``train::handlers::0::_target_``; empty for the file as a whole.
        text: The bundle's own words (expression, target), shortened and printable.
        verdict: One of ``VERDICTS``, empty where none applies.
        reason: What was found and why it matters.
    """

    level: str
    group: str
    file: str = ""
    id: str = ""
    text: str = ""
    verdict: str = ""
    reason: str = ""

    def as_dict(self) -> dict[str, str]:
        """All attributes, by name."""
        return asdict(self)


def judged(verdict: Verdict, group: str, file: str, place: str, text: str) -> AuditFinding:
    """The finding that a verdict stands for: ``danger`` where code can be run, else ``ok``."""
    level = OK if verdict.harmless else DANGER
    return AuditFinding(level, group, file, place, shown(text), verdict.kind, verdict.reason)


def shown(text: str) -> str:
    """Text of a bundle, fit for a terminal: shortened, and what is not printable ASCII written as an escape."""
    cut = text if len(text) <= TEXT else text[: TEXT - 3] + "..."
    return "".join(char if " " <= char <= "~" else char.encode("unicode_escape").decode("ascii") for char in cut)


def printable(finding: AuditFinding) -> AuditFinding:
    """The finding without characters that steer a terminal, wherever a bundle may have put some."""
    words = {name: _escaped(value) for name, value in finding.as_dict().items()}
    return AuditFinding(**words)


def _escaped(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
