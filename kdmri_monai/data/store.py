"""The compact image store: ``images.npy`` and ``masks.npy``, written row by row, read by anything that knows NumPy."""

import os
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

IMAGES, MASKS = "images.npy", "masks.npy"
_HEADER = 128  # bytes; NumPy leaves room in it for the number of rows to grow


class StoreWriteError(OSError):
    """A file of the dataset folder cannot be written: a full disk, a quota, a limit on the size of files.

    Args:
        number: ``errno`` of the cause.
        message: Cause, file, what is kept and what is needed.
        file: The file.
    """

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


class RowFile:
    """An ``.npy`` file of ``uint8`` images that grows by a row at a time.

    The file can be cut back to any number of rows and continued. Its header is written last, by ``seal``.

    Args:
        path: File; made where it does not exist.
        size: Side ``S`` of the images.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size, self._row = path, size, size * size
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def close(self) -> None:
        """Close the file; its rows stay."""
        os.close(self._descriptor)

    def read(self, index: int) -> bytes:
        """Bytes of a row, fewer where the file is shorter; a hole reads as zeros."""
        return os.pread(self._descriptor, self._row, _HEADER + index * self._row)

    def write(self, index: int, pixels: bytes) -> None:
        """Put one row in its place; rows that were left out read as zeros and take no room on the disk.

        Raises:
            ValueError: Not ``S * S`` bytes.
            OSError: The row cannot be written; what was written of it is cut off when the file is continued.
        """
        if len(pixels) != self._row:
            raise ValueError(f"a row of {self.path} has {self._row} bytes, got {len(pixels)}")
        _write_all(self._descriptor, pixels, _HEADER + index * self._row, self.path)

    def cut(self, rows: int) -> None:
        """Drop everything behind a number of rows, or fill up with zeros to it."""
        try:
            os.ftruncate(self._descriptor, _HEADER + rows * self._row)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error

    def seal(self, rows: int) -> None:
        """Give the file its header and its length, and wait until the disk has it all."""
        self.cut(rows)
        _write_all(self._descriptor, npy_header(rows, self.size), 0, self.path)
        os.fsync(self._descriptor)


def npy_header(rows: int, size: int) -> bytes:
    """Header of an ``.npy`` file of ``uint8``, C order, shape ``(rows, size, size)``.

    Args:
        rows: Number of images.
        size: Side ``S``.

    Returns:
        ``_HEADER`` bytes, whatever the number of rows.
    """
    fields = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({rows}, {size}, {size}), }}".encode()
    start = npy.magic(1, 0) + (_HEADER - 10).to_bytes(2, "little")
    return start + fields.ljust(_HEADER - len(start) - 1) + b"\n"


def open_store(path: Path) -> NDArray[np.uint8]:
    """The images of a store, mapped from the file; the map is kept and shared within a process.

    A file that was replaced is opened anew. Processes forked or spawned from this one may go on calling this.

    Args:
        path: ``images.npy`` or ``masks.npy``.

    Returns:
        Read-only, shape ``(N, S, S)``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not such a store; it is named.
    """
    status = path.stat()
    return _mapped(str(path), status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=8)
def _mapped(path: str, inode: int, size: int, changed: int) -> NDArray[np.uint8]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is not an image store: {error}") from error
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8 or array.ndim != 3:
        raise ValueError(f"{path} is not an image store: uint8 of shape (N, S, S) is expected")
    return array


def split_reference(reference: str) -> tuple[Path, int]:
    """File and row of ``images.npy#17``.

    Args:
        reference: Path, ``#``, number of the row.

    Raises:
        ValueError: Not of this form.
    """
    path, mark, row = reference.rpartition("#")
    if not (path and mark and row.isascii() and row.isdigit()):
        raise ValueError(f"{reference!r} is not a reference to a stored image, e.g. 'images.npy#17'")
    return Path(path), int(row)


def _write_all(descriptor: int, data: bytes, offset: int, path: Path) -> None:
    """Write at an offset until nothing is left; the system may take less at a time."""
    view = memoryview(data)
    while view:
        try:
            written = os.pwrite(descriptor, view, offset)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
        view, offset = view[written:], offset + written
