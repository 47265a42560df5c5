"""A JSON file that holds one object."""

import json
from pathlib import Path
from typing import Any


def read_json_object(path: Path) -> dict[str, Any]:
    """The object that a file holds.

    Args:
        path: A JSON file in UTF-8.

    Raises:
        OSError: It cannot be read.
        ValueError: Not JSON, or no object; the file is named.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # of JSON or of UTF-8
        raise ValueError(f"{path} is not a JSON file: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object")
    return content
