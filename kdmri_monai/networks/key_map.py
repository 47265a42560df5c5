"""Rules that turn the tensor names of another state dict into ours: regular expressions and what replaces them."""

import re
from collections.abc import Iterable, Mapping, Sequence

WRAPPER = "module."
"""What ``DataParallel`` and ``DistributedDataParallel`` put before every name."""


class KeyMapError(ValueError):
    """A rule that does not fit the names: no regular expression, nothing that it matches, two tensors of one name."""


def mapped_names(names: Iterable[str], rules: Mapping[str, str | None]) -> dict[str, str]:
    """New names of tensors, by regular expressions.

    Every rule is applied to every name, in order, each to what the rules before have made of it, as ``re.sub`` does:
    ``{"^encoder\\\\.": "backbone."}`` renames a prefix. ``None`` in place of the text leaves the tensor out.

    Args:
        names: Names in the file.
        rules: Expression to replacement, in the order in which they are applied.

    Returns:
        New name to the name in the file, in the order of the file.

    Raises:
        KeyMapError: A rule is no regular expression or matches no name, which is a slip of the pen; or two tensors get
            one name.
    """
    now: dict[str, str | None] = {name: name for name in names}
    for expression, replacement in rules.items():
        pattern, hits = compiled(expression), 0
        for name, new in now.items():
            if new is None or not pattern.search(new):
                continue
            hits += 1
            now[name] = None if replacement is None else _replaced(pattern, replacement, new)
        if not hits:
            raise KeyMapError(f"the rule {expression!r} matches no name in the file; there are {some(list(now))}")
    found: dict[str, str] = {}
    for name, new in now.items():
        if new is None:
            continue
        if new in found:
            raise KeyMapError(f"the rules give {found[new]} and {name} the same name {new}")
        found[new] = name
    return found


def matching(names: Sequence[str], expressions: Iterable[str]) -> list[str]:
    """Names that one of the expressions matches, in their order.

    Raises:
        KeyMapError: An expression is none, or matches no name.
    """
    chosen: set[str] = set()
    for expression in expressions:
        pattern = compiled(expression)
        hits = {name for name in names if pattern.search(name)}
        if not hits:
            raise KeyMapError(f"{expression!r} matches no name of the network; there are {some(names)}")
        chosen |= hits
    return [name for name in names if name in chosen]


def unwrapped(names: Iterable[str]) -> dict[str, str]:
    """Names without ``module.`` before them, where all of them have it; new name to the name in the file."""
    listed = list(names)
    cut = len(WRAPPER) if listed and all(name.startswith(WRAPPER) for name in listed) else 0
    return {name[cut:]: name for name in listed}


def compiled(expression: str) -> re.Pattern[str]:
    """A regular expression.

    Raises:
        KeyMapError: It is none.
    """
    try:
        return re.compile(expression)
    except re.error as error:
        raise KeyMapError(f"{expression!r} is no regular expression: {error}") from error


def some(names: Sequence[str], most: int = 4) -> str:
    """Up to ``most`` names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _replaced(pattern: re.Pattern[str], replacement: str, name: str) -> str:
    try:
        return pattern.sub(replacement, name)
    except (re.error, IndexError) as error:
        raise KeyMapError(f"{replacement!r} cannot replace {pattern.pattern!r} in {name}: {error}") from error
