"""A file is either the old one or the new one, never half of one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name to write to; what was written there replaces ``path`` when the block ends without an error.

    Args:
        path: File to write or to replace; its folder is made where it is missing.

    Yields:
        Temporary name in the folder of ``path``, gone when the block ends.

    Raises:
        OSError: The folder cannot be written to, or the disk is full; ``path`` is then as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())  # the content is on the disk before the name is
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file by way of another one in the same folder.

    Args:
        path: File to write or to replace; its folder is made where it is missing.
        content: What the file shall hold.

    Raises:
        OSError: The folder cannot be written to, or the disk is full; ``path`` is then as it was.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)
