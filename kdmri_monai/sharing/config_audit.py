"""Every configuration of a bundle: what it names, evaluates, imports and copies, each with a verdict."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kdmri_monai.sharing.allowed_targets import target_verdict
from kdmri_monai.sharing.audit_arguments import MODE, argument_verdicts
from kdmri_monai.sharing.audit_config_files import SUFFIXES, Repeated, UnreadableConfigError, parse_config
from kdmri_monai.sharing.audit_config_items import EXPRESSION, MACRO, REFERENCE, Item, items, odd_keys, tainted_ids
from kdmri_monai.sharing.audit_findings import (
    ARBITRARY,
    DANGER,
    HARMLESS,
    KNOWN,
    WARNING,
    AuditFinding,
    Verdict,
    judged,
)
from kdmri_monai.sharing.audit_names import name_problem
from kdmri_monai.sharing.audit_substitution import SEPARATOR, is_relative, normalised
from kdmri_monai.sharing.expressions import Names, bound_names, expression_verdict

GROUP = "configuration"
TARGET = "_target_"
_MACRO_FILE = re.compile(r"(.*\.(?:json|yaml|yml))(?=(?:::.*)|$)", re.IGNORECASE)
"""As ``ConfigParser.split_path_id`` finds the file in a macro."""


def config_audit(files: Mapping[str, bytes]) -> list[AuditFinding]:
    """Judges configurations together: a bundle's files are laid over each other, and share their imports and ids.

    Args:
        files: Content of every file that ends as a configuration does, by path; those inside a TorchScript file too.

    Returns:
        A finding for every expression, target, mode, macro and import, harmless ones included, and for what is odd
        about a file.
    """
    findings: list[AuditFinding] = []
    contents: dict[str, Any] = {}
    for file, data in files.items():
        try:
            contents[file], remarks = parse_config(file, data)
        except UnreadableConfigError as error:
            findings.append(AuditFinding(DANGER, GROUP, file, verdict=ARBITRARY, reason=str(error)))
        except ModuleNotFoundError:
            reason = "is YAML, which cannot be checked here: PyYAML is not installed"
            findings.append(AuditFinding(DANGER, GROUP, file, verdict=ARBITRARY, reason=reason))
        else:
            findings += [AuditFinding(WARNING, GROUP, file, reason=remark) for remark in remarks]
    return findings + list(_Configurations(contents).findings())


def is_config(path: str) -> bool:
    """Whether MONAI would read a file of this name as a configuration."""
    return path.lower().endswith(SUFFIXES)


class _Configurations:
    """The configurations of one bundle.

    Args:
        contents: What each holds, by file.
    """

    def __init__(self, contents: Mapping[str, Any]) -> None:
        self.files = frozenset(contents)
        self.items = [item for file, content in contents.items() for item in items(file, content)]
        self.names: Names = bound_names(
            item.text or "" for item in self.items if isinstance(item.value, str) and item.value.startswith(EXPRESSION)
        )
        self.tainted = tainted_ids(self.items)
        self.odd = {file for file, content in contents.items() if odd_keys(_without_metadata(file, content))}
        self.components: dict[str, list[Any]] = {}
        for item in self.items:
            self.components.setdefault(normalised(item.id).lstrip("+"), []).append(item.value)

    def findings(self) -> Iterator[AuditFinding]:
        for item in self.items:
            for verdict in self._verdicts(item):
                yield judged(
                    verdict, GROUP, item.file, item.id, item.value if isinstance(item.value, str) else item.key
                )
            if isinstance(item.value, Repeated):
                names = ", ".join(sorted({key for key, _ in item.value.others}))
                reason = f"has a key twice ({names}): two readers may read two things"
                yield AuditFinding(DANGER, GROUP, item.file, item.id, verdict=ARBITRARY, reason=reason)

    def _verdicts(self, item: Item) -> Iterator[Verdict]:
        yield from argument_verdicts(item, self._targets(item), self._is_component)
        if item.key == TARGET:
            yield self._target(item)
        text = item.text
        if text is None or item.key in (TARGET, MODE):
            return
        if text.startswith(EXPRESSION):
            yield self._expression(item, text)
        elif text.startswith(MACRO):
            yield self._macro(text)

    def _target(self, item: Item) -> Verdict:
        """A target is text; a reference is followed to a component that is called, and no further."""
        if not isinstance(item.value, str):
            return Verdict(ARBITRARY, "is not the name of a component")
        owner = item.owner if isinstance(item.owner, dict) else {}
        if item.value == "torch.load" and owner.get("weights_only") is True:
            return Verdict(KNOWN)
        if item.value.startswith(REFERENCE):
            if self._is_component(item.value[1:]):
                return Verdict(KNOWN)
            return Verdict(ARBITRARY, "calls what is found elsewhere in the configuration, which may be any text")
        if item.value.startswith((EXPRESSION, MACRO)):
            return Verdict(ARBITRARY, "calls what an expression or a macro gives")
        return target_verdict(item.value)

    def _targets(self, item: Item) -> list[str]:
        """What the component is that an item belongs to, in this configuration and those laid over it."""
        own = item.owner.get(TARGET) if item.owner is not None else None
        others = self.components.get(f"{item.above}{SEPARATOR}{TARGET}", [])
        return [target for target in (own, *others) if isinstance(target, str)]

    def _is_component(self, place: str) -> bool:
        """Whether every configuration defines an id as a known component (or as nothing), and none exchanges a part."""
        wanted = normalised(place)
        found = [value for value in self.components.get(wanted, []) if value is not None]
        parts = (f"{wanted}{SEPARATOR}{key}" for key in (TARGET, MODE))
        exchanged = any(len({str(value) for value in self.components.get(part, [])}) > 1 for part in parts)
        return bool(found) and all(map(_is_component, found)) and not exchanged

    def _expression(self, item: Item, text: str) -> Verdict:
        raw = normalised(item.value)
        if is_relative(raw) and (self.odd or "%::" in raw):
            return Verdict(ARBITRARY, "has a relative id, which puts keys of the configuration into the expression")
        return expression_verdict(text, self.names, self.tainted)

    def _macro(self, text: str) -> Verdict:
        """A macro copies configuration: from this one, judged where it stands, or from a file."""
        body = normalised(text[1:])
        if "\n" in body or "\r" in body:
            return Verdict(ARBITRARY, "is a macro of several lines")
        match = _MACRO_FILE.match(body)
        if match is None:
            return Verdict(HARMLESS)
        path = match.group(1).removeprefix("./")
        if path in self.files and name_problem(path) is None:
            return Verdict(HARMLESS)
        return Verdict(ARBITRARY, f"copies configuration from {path!r}, which is not part of the bundle")


def _is_component(value: Any) -> bool:
    name = value.get(TARGET) if isinstance(value, dict) else None
    mode = value.get(MODE, "default") if isinstance(value, dict) else ""
    return isinstance(name, str) and mode == "default" and target_verdict(name).harmless


def _without_metadata(file: str, content: Any) -> Any:
    """Metadata is kept under an id of its own, and its keys are names and versions."""
    return {} if file.endswith(("metadata.json", "datalist.json", "manifest.json")) else content
