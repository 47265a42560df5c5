"""Where an entry of a datalist finds its pixels: ``images.npy#17`` is row 17 of a store beside the datalist."""

import posixpath
import re

_FORM = re.compile(r"(?P<file>.+?)(?:#(?P<row>[0-9]+))?", re.DOTALL)


def parse_store_path(text: str) -> tuple[str, int | None]:
    """File and row of an entry.

    Args:
        text: Path relative to the folder of the datalist; ``#`` and a row may follow.

    Returns:
        The file, normalised, so that one place has one spelling, and the row; ``None`` where there is none.

    Raises:
        ValueError: The path is absolute, empty, or leaves the folder.
    """
    match = _FORM.fullmatch(text)
    file = posixpath.normpath(match["file"]) if match else ""
    if not file or "\0" in file or file in (".", "..") or file.startswith(("/", "../")):
        raise ValueError(f"{text!r} is no path inside the folder of the datalist")
    return file, None if match is None or match["row"] is None else int(match["row"])


def is_store_path(text: object) -> bool:
    """Whether ``parse_store_path`` accepts a value."""
    if not isinstance(text, str):
        return False
    try:
        parse_store_path(text)
    except ValueError:
        return False
    return True
