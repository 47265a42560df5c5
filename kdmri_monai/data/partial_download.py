"""The unfinished part of a download, kept from one run to the next."""

import json
from pathlib import Path
from typing import IO, Any

from kdmri_monai.data.atomic import write_atomically


class PartialFile:
    """Bytes got so far (``NAME.part``), and a note on what they are bytes of (``NAME.part.json``).

    Args:
        target: The file when it is whole.
        identity: What tells this version of the file from another one, e.g. its MD5 and size; bytes of another
            version are not gone on with.

    Attributes:
        pieced: Whether the bytes came, or may have come, from more than one answer of the server.
    """

    def __init__(self, target: Path, identity: dict[str, Any]) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self.note = target.with_name(f"{target.name}.part.json")
        self.identity = identity
        self.pieced = True

    def size(self) -> int:
        """Bytes that can be gone on from."""
        return self.path.stat().st_size if self.path.is_file() and self._noted() is not None else 0

    def validator(self) -> str | None:
        """ETag or date of the version that the bytes belong to, where the server gave one."""
        noted = self._noted()
        return None if noted is None else noted.get("validator")

    def begin(self, validator: str | None) -> IO[bytes]:
        """An empty part for a version of the file.

        Raises:
            OSError: It cannot be written.
        """
        file = self.path.open("wb", buffering=0)
        note = {**self.identity, "validator": validator}
        write_atomically(self.note, json.dumps(note).encode())
        self.pieced = False
        return file

    def resume(self) -> IO[bytes]:
        """The part, to be added to.

        Raises:
            OSError: It cannot be written.
        """
        self.pieced = True
        return self.path.open("ab", buffering=0)

    def discard(self) -> None:
        """Removes bytes and note."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def finish(self, target: Path) -> None:
        """Gives the part its name; the caller has checked the content."""
        self.path.replace(target)
        self.note.unlink(missing_ok=True)

    def _noted(self) -> dict[str, Any] | None:
        """The note, if there is one and it speaks of this version."""
        try:
            noted = json.loads(self.note.read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        if not isinstance(noted, dict) or any(noted.get(key) != value for key, value in self.identity.items()):
            return None
        return noted if isinstance(noted.get("validator"), str | None) else None
