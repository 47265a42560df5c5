"""Names of files that lead out of a bundle, that two systems read differently, or that deceive the eye.

Source: Unicode Technical Report 36, section 3; Microsoft, "Naming files, paths, and namespaces".
"""

import unicodedata
from collections.abc import Iterable

NAME_BYTES = 240
PATH_BYTES = 1000
DEPTH = 24
RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
LOOKALIKES = {"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU"}
"""Scripts with letters of the same shape, as Unicode names begin."""

_FORBIDDEN = set('\\:*?"<>|')


def name_problem(path: str) -> str | None:
    """Why a path must not be used inside a bundle.

    Args:
        path: As an archive or a folder gives it, with ``/`` between folders, at the end for a folder too.

    Returns:
        The reason, ``None`` where there is none.
    """
    if not path.strip("/"):
        return "has no name"
    if path.startswith("/"):
        return "has an absolute path for a name"
    parts = path.removesuffix("/").split("/")
    if len(parts) > DEPTH:
        return f"lies {len(parts)} folders deep, allowed are {DEPTH}"
    try:
        size = len(path.encode("utf-8"))
    except UnicodeEncodeError:
        return "has a name that is not Unicode"
    if size > PATH_BYTES:
        return f"has a path of {size:,} bytes, allowed are {PATH_BYTES:,}"
    return next(filter(None, map(_part_problem, parts)), None)


def clashes(paths: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of paths that are one and the same on some system.

    Two clash when they are equal, or equal after Unicode normalisation (NFKC) and without regard to case, or when one
    is a file where the other has a folder.

    Args:
        paths: Of a bundle, folders ending in ``/``.

    Returns:
        First and second of each pair, in the order given.
    """
    seen: dict[str, str] = {}
    folders: dict[str, str] = {}
    found = []
    for path in paths:
        key = folded(path.removesuffix("/"))
        if key in seen:
            found.append((seen[key], path))
        seen.setdefault(key, path)
        parts = key.split("/")
        for end in range(1, len(parts) + path.endswith("/")):
            folders.setdefault("/".join(parts[:end]), path)
    files = {key: path for key, path in seen.items() if not path.endswith("/")}
    return found + [(files[key], folders[key]) for key in files.keys() & folders.keys()]


def folded(name: str) -> str:
    """A name as the least discerning file system sees it."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _part_problem(part: str) -> str | None:
    if part == "":
        return "has an empty folder name"
    if part in (".", ".."):
        return f"climbs out of the bundle with {part!r}" if part == ".." else "has '.' for a folder"
    if len(part.encode("utf-8")) > NAME_BYTES:
        return f"has a name of more than {NAME_BYTES} bytes"
    for char in part:
        if reason := _char_problem(char):
            return reason
    if part != part.strip() or part.endswith("."):
        return "has a name that ends in a dot or begins or ends with a space"
    if part.split(".")[0].strip().lower() in RESERVED:
        return f"is called {part!r}, a device on Windows"
    if unicodedata.normalize("NFC", part) != part:
        return "has a name that is not in Unicode normal form C"
    if unicodedata.normalize("NFKC", part) != part:
        return "has look-alike characters in its name (full-width, ligature or the like)"
    scripts = {unicodedata.name(char, "UNKNOWN").split()[0] for char in part if char.isalpha()}
    if len(scripts & LOOKALIKES) > 1:
        return f"mixes letters of {' and '.join(sorted(scripts & LOOKALIKES))} in its name, to look like another"
    return None


def _char_problem(char: str) -> str | None:
    category = unicodedata.category(char)
    if char in _FORBIDDEN:
        return f"has {char!r} in its name"
    if category in ("Cc", "Cs", "Co", "Cn", "Zl", "Zp"):
        return f"has the control character U+{ord(char):04X} in its name"
    if category == "Cf":
        return f"has the invisible character U+{ord(char):04X} in its name"
    if category == "Zs" and char != " ":
        return f"has the unusual space U+{ord(char):04X} in its name"
    return None
