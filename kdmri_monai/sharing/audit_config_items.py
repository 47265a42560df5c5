"""The items of a configuration: every text in it with the id that MONAI gives it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kdmri_monai.sharing.audit_config_files import Repeated
from kdmri_monai.sharing.audit_substitution import (
    SEPARATOR,
    RelativeIdError,
    import_statement,
    is_plain_key,
    normalised,
    references,
    with_absolute_ids,
)

EXPRESSION, MACRO, REFERENCE = "$", "%", "@"


@dataclass(frozen=True)
class Item:
    """One value of a configuration.

    Attributes:
        file: Configuration it stands in.
        id: ``::`` between levels.
        key: Last part of the id that is a name, overlays' long keys taken apart: an element of a list has its list's.
        value: Text, number or the like; or the mapping or list itself.
        owner: The mapping it stands in, ``None`` in a list.
    """

    file: str
    id: str
    key: str
    value: Any
    owner: Mapping[str, Any] | None

    @property
    def above(self) -> str:
        """Id of what holds it, as all configurations of a bundle write it."""
        return normalised(self.id).lstrip("+").rpartition(SEPARATOR)[0]

    @property
    def text(self) -> str | None:
        """The value where it is text, relative ids made absolute; as it stands where they cannot be."""
        if not isinstance(self.value, str):
            return None
        try:
            return with_absolute_ids(self.id, self.value)
        except RelativeIdError:
            return self.value


def items(file: str, content: Any, place: str = "", owner: Mapping[str, Any] | None = None) -> Iterator[Item]:
    """Every value of a configuration, outer ones first.

    Args:
        file: Name of the configuration.
        content: What it holds.
        place: Id of ``content``.
        owner: Mapping that holds ``content``.

    Yields:
        Items, those with a replaced value of a repeated key too.
    """
    names = [part for part in normalised(place).lstrip("+").split(SEPARATOR) if not part.isdigit()]
    key = names[-1] if names else ""
    yield Item(file, place, key, content, owner)
    if isinstance(content, dict):
        others = content.others if isinstance(content, Repeated) else []
        for name, value in (*content.items(), *others):
            yield from items(file, value, _joined(place, name), content)
    elif isinstance(content, list):
        for index, value in enumerate(content):
            yield from items(file, value, _joined(place, index), None)


def odd_keys(content: Any) -> bool:
    """Whether some key of a configuration would not stay a name where MONAI writes it into an expression."""
    if isinstance(content, dict):
        return any(not is_plain_key(key) or odd_keys(value) for key, value in content.items())
    return isinstance(content, list) and any(map(odd_keys, content))


def tainted_ids(found: list[Item]) -> frozenset[str]:
    """First parts of the ids under which an imported module can be had: where it is imported, and what refers there."""
    links: dict[str, set[str]] = {}
    tainted: set[str] = set()
    for item in found:
        text = item.text
        if text is None or not text.startswith((EXPRESSION, MACRO, REFERENCE)):
            continue
        first = _first(item.id)
        if text.startswith(EXPRESSION) and import_statement(text) is not None:
            tainted.add(first)
        targets = [text[1:]] if text.startswith(MACRO) else references(text)
        links.setdefault(first, set()).update(map(_first, targets))
    while more := {first for first, targets in links.items() if targets & tainted} - tainted:
        tainted |= more
    return frozenset(tainted)


def _first(place: str) -> str:
    return normalised(place).lstrip("+").split(SEPARATOR)[0]


def _joined(place: str, name: object) -> str:
    return f"{place}{SEPARATOR}{name}" if place else f"{name}"
