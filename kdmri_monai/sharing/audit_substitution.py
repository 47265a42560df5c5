"""The text that Python is given for an expression: references and relative ids put in as MONAI puts them in.

An expression is not what stands between the quotes of the configuration. MONAI first writes ``::`` for every ``#``,
then the keys above the item for ``@::`` and ``%::``, then ``__local_refs['id']`` for ``@id``, all by text replacement,
in strings and comments too. What is judged here is the result.
Source: ``ConfigParser.resolve_relative_ids``, ``ReferenceResolver.update_refs_pattern`` of MONAI 1.6.1.
"""

import ast
import re

SEPARATOR = "::"
REFERENCES = "__local_refs"
_REFERENCE = re.compile(r"@(?:\w*)(?:::\w*)*")
_RELATIVE = re.compile(r"(?:@|%)(?:::)+")
_PLAIN_KEY = re.compile(r"\+?[\w-]+((#|::)[\w-]+)*\Z", re.ASCII)


class RelativeIdError(ValueError):
    """A relative id leads above the whole configuration."""


def normalised(text: str) -> str:
    """``::`` for the older ``#``."""
    return text.replace("#", SEPARATOR)


def with_absolute_ids(place: str, text: str) -> str:
    """Text with its relative ids made absolute.

    Args:
        place: Id of the item, e.g. ``train::handlers::0::interval``.
        text: As the configuration has it.

    Returns:
        As MONAI has it afterwards.

    Raises:
        RelativeIdError: The relative id leads above the whole configuration.
    """
    text = normalised(text)
    above = place.split(SEPARATOR)
    for prefix in sorted(set(_RELATIVE.findall(text)), reverse=True):
        steps = prefix[1:].count(SEPARATOR)
        if steps > len(above):
            raise RelativeIdError(f"{prefix} leads above the configuration")
        rest = above[:-steps]
        text = text.replace(prefix, prefix[0] + (SEPARATOR.join(rest) + SEPARATOR if rest else ""))
    return text


def is_relative(text: str) -> bool:
    """Whether keys of the configuration become part of the text."""
    return bool(_RELATIVE.search(normalised(text)))


def is_plain_key(key: object) -> bool:
    """Whether a key stays a name wherever MONAI writes it."""
    return isinstance(key, int) or (isinstance(key, str) and bool(_PLAIN_KEY.match(key)))


def with_references(text: str) -> str:
    """Text with every ``@id`` written as the look-up that Python runs."""
    text = normalised(text)
    for item in sorted(_REFERENCE.findall(text), key=len, reverse=True):
        text = text.replace(item, f"{REFERENCES}['{item[1:]}']")
    return text


def references(text: str) -> tuple[str, ...]:
    """Ids that a text refers to."""
    return tuple(item[1:] for item in _REFERENCE.findall(normalised(text)))


def import_statement(text: str) -> ast.Import | ast.ImportFrom | None:
    """The import that an expression is, as Python reads it; ``None`` for any other expression.

    Args:
        text: With or without its leading ``$``.
    """
    try:
        statements = ast.parse(with_references(text.removeprefix("$"))).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None  # MONAI reads it in the same way, and stops there
    first = statements[0] if statements else None
    return first if isinstance(first, (ast.Import, ast.ImportFrom)) else None
