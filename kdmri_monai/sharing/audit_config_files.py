"""Parses configuration files from anyone: JSON and YAML, bounded in size and depth, both values of a repeated key."""

import importlib
import json
from typing import Any

MIB = 1 << 20
JSON_BYTES, YAML_BYTES = 32 * MIB, MIB
DEPTH = 60
NODES = 500_000
SUFFIXES = (".json", ".yaml", ".yml")
"""What MONAI reads as configuration, in any case; a macro may name any such file."""


class UnreadableConfigError(ValueError):
    """A configuration cannot be read, or two readers could read two things from it."""


class Repeated(dict[str, Any]):
    """A mapping that also remembers values which a later one of the same key replaced.

    Attributes:
        others: Key and value of those.
    """

    def __init__(self) -> None:
        super().__init__()
        self.others: list[tuple[str, Any]] = []


def parse_config(name: str, data: bytes) -> tuple[Any, list[str]]:
    """Reads a configuration.

    Args:
        name: Its path; the suffix tells the format.
        data: Content.

    Returns:
        What it holds, mappings with repeated keys as ``Repeated``; and what is odd about it, as reasons.

    Raises:
        UnreadableConfigError: Not UTF-8 without a mark, not valid, too large, too deep, or too many parts.
        ModuleNotFoundError: YAML, and PyYAML is not installed.
    """
    is_json = name.lower().endswith(".json")
    most = JSON_BYTES if is_json else YAML_BYTES
    if len(data) > most:
        raise UnreadableConfigError(f"has {len(data):,} bytes, allowed are {most:,}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnreadableConfigError(f"is not UTF-8: {error.reason} at byte {error.start:,}") from error
    if text.startswith("\ufeff") or "\0" in text:
        raise UnreadableConfigError("begins with a byte order mark or holds a zero, which readers treat differently")
    remarks: list[str] = []
    content = _json(text, remarks) if is_json else _yaml(text)
    _check_size(content)
    return content, remarks


def _json(text: str, remarks: list[str]) -> Any:
    if _depth(text) > DEPTH:
        raise UnreadableConfigError(f"is nested deeper than {DEPTH} levels")

    def constant(name: str) -> float:
        remarks.append(f"holds {name}, which is not JSON")
        return float(name)

    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        whole = Repeated()
        for key, value in pairs:
            if key in whole:
                whole.others.append((key, whole[key]))
            whole[key] = value
        return whole if whole.others else dict(whole)

    try:
        return json.loads(text, object_pairs_hook=mapping, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise UnreadableConfigError(f"is not JSON: {error}") from error


def _depth(text: str) -> int:
    """Deepest nesting of brackets outside strings, without recursion."""
    depth = deepest = 0
    quoted = escaped = False
    for char in text:
        if quoted:
            quoted = escaped or char != '"'
            escaped = char == "\\" and not escaped
        elif char == '"':
            quoted = True
        elif char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth -= 1
    return deepest


def _yaml(text: str) -> Any:
    yaml = importlib.import_module("yaml")  # not one of the package's requirements, and without types

    class Loader(yaml.SafeLoader):  # type: ignore[name-defined]
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if len(names) != len(set(names)):
                raise UnreadableConfigError(f"has a key twice, at line {node.start_mark.line + 1}")
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(text, Loader)
    except (yaml.YAMLError, ValueError, RecursionError, TypeError, AttributeError) as error:
        raise UnreadableConfigError(f"is not plain YAML: {str(error).splitlines()[0]}") from error


def _check_size(content: Any) -> None:
    """Counts the parts as a walk would meet them: an alias of YAML counts as often as it is written."""
    stack, count = [(content, 1)], 0
    while stack:
        node, depth = stack.pop()
        count += 1
        if depth > DEPTH:
            raise UnreadableConfigError(f"is nested deeper than {DEPTH} levels")
        if count > NODES:
            raise UnreadableConfigError(f"has more than {NODES:,} parts")
        if isinstance(node, dict):
            stack += [(value, depth + 1) for value in node.values()]
        elif isinstance(node, list):
            stack += [(value, depth + 1) for value in node]
