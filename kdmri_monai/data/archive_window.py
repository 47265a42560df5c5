"""An archive, or anything else, as a part of a file that is read without copying it."""

import io
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ArchiveRef:
    """Where the bytes of an archive are.

    Attributes:
        path: File that holds them.
        start: First byte.
        size: Bytes.
        name: Name for people, e.g. ``1512427.zip/brainTumorDataPublic_1766.zip``.
    """

    path: str
    start: int
    size: int
    name: str

    @classmethod
    def of(cls, path: Path, name: str) -> "ArchiveRef":
        """The archive that is the whole of a file."""
        return cls(str(path), 0, path.stat().st_size, name)


class WindowFile(io.RawIOBase):
    """Part of a file as a read-only seekable file of its own.

    Args:
        path: File.
        start: First byte of the window.
        size: Bytes; nothing beyond them can be read.
    """

    def __init__(self, path: str, start: int, size: int) -> None:
        super().__init__()
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._start, self._size, self._at = start, size, 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move, counted from the start of the window, from here, or from its end."""
        target = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if target < 0:
            raise ValueError(f"cannot seek to {target}, before the start of the window")
        self._at = target
        return target

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # any writable buffer, as io hands it
        """Fill the buffer as far as the window goes; 0 at its end."""
        room = memoryview(buffer)[: max(0, self._size - self._at)]
        count = os.preadv(self._descriptor, [room], self._start + self._at)
        self._at += count
        return count

    def close(self) -> None:
        """Close the file below; twice does no harm."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()
