"""Datasets of an HDF5 file in memory, read without trusting it.

HDF5 can point out of the file: soft and external links, external storage, virtual datasets. None is followed. Shapes,
chunks and filters are checked before anything is allocated.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5f, h5g, h5l, h5o, h5s, h5t, h5z
from numpy.typing import NDArray

from kdmri_monai.data.errors import BadSliceError

_FILTERS = {h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE, h5z.FILTER_FLETCHER32}
_LAYOUTS = {h5d.COMPACT, h5d.CONTIGUOUS, h5d.CHUNKED}
_FAILURES = (OSError, RuntimeError, ValueError, KeyError, TypeError)
_SIGNATURE = b"\x89HDF\r\n\x1a\n"


@contextmanager
def open_hdf5(data: bytes, name: str) -> Iterator[Any]:
    """The HDF5 file that some bytes are, as an ``h5py.h5f.FileID``.

    Args:
        data: Content of the file; a user block before it, as MATLAB writes it, is allowed.
        name: Name for people.

    Raises:
        BadSliceError: Empty, not HDF5, damaged.
    """
    if not data:
        raise BadSliceError(name, "file", "is empty")
    if not any(data.startswith(_SIGNATURE, offset) for offset in (0, 512, 1024, 2048)):
        raise BadSliceError(name, "file", "is not HDF5; a MATLAB v7.3 file is expected (save with '-v7.3')")
    try:
        file = h5f.open_file_image(data)
    except _FAILURES as error:
        raise BadSliceError(name, "file", f"is not readable as HDF5: {error}") from error
    try:
        yield file
    finally:
        file.close()


def has_dataset(file: Any, path: str) -> bool:
    """Whether a path leads somewhere, be it allowed or not; links are not followed.

    Args:
        file: From ``open_hdf5``.
        path: Names joined by ``/``.
    """
    group = h5g.open(file, b"/")
    for part in path.encode().split(b"/"):
        if not isinstance(group, h5g.GroupID) or part not in group:
            return False
        if group.links.get_info(part).type != h5l.TYPE_HARD:
            return True
        group = h5o.open(group, part)
    return True


def read_dataset(file: Any, path: str, name: str, most: int) -> NDArray[np.generic]:
    """A numeric dataset, as it lies in the file (MATLAB's columns are rows here).

    Args:
        file: From ``open_hdf5``.
        path: Names joined by ``/``.
        name: Name of the file for people.
        most: Most elements.

    Returns:
        Array in native byte order; no elements where MATLAB marks the variable as empty.

    Raises:
        BadSliceError: Missing, not numeric, larger than allowed, stored outside the file, damaged.
    """
    try:
        dataset = _open_dataset(file, path, name)
        if h5a.exists(dataset, b"MATLAB_empty"):
            return np.empty((0, 0))
        _check_storage(dataset, path, name, most)
        array = np.empty(dataset.shape, dataset.dtype.newbyteorder("="))
        dataset.read(h5s.ALL, h5s.ALL, array)
    except _FAILURES as error:
        if isinstance(error, BadSliceError):
            raise
        raise BadSliceError(name, path, f"is damaged: {error}") from error
    return array


def _open_dataset(file: Any, path: str, name: str) -> Any:
    """Walk hard links only."""
    node, seen = h5g.open(file, b"/"), ""
    for part in path.split("/"):
        seen = f"{seen}/{part}".lstrip("/")
        if not isinstance(node, h5g.GroupID):
            raise BadSliceError(name, path, f"is missing: {seen.rpartition('/')[0]} is not a group")
        if part.encode() not in node:
            raise BadSliceError(name, path, "is missing" if seen == path else f"is missing: there is no {seen}")
        if node.links.get_info(part.encode()).type != h5l.TYPE_HARD:
            raise BadSliceError(name, path, f"is refused: {seen} is a soft or external link")
        node = h5o.open(node, part.encode())
    if not isinstance(node, h5py.h5d.DatasetID):
        raise BadSliceError(name, path, "is not a dataset")
    return node


def _check_storage(dataset: Any, path: str, name: str, most: int) -> None:
    kind = dataset.get_type().get_class()
    if kind not in (h5t.INTEGER, h5t.FLOAT) or dataset.dtype.itemsize > 8:
        raise BadSliceError(name, path, "does not hold numbers")
    if dataset.get_space().get_simple_extent_type() == h5s.NULL:
        raise BadSliceError(name, path, "is empty")
    if int(np.prod(dataset.shape, dtype=object)) > most:
        size = " x ".join(map(str, dataset.shape))
        raise BadSliceError(name, path, f"has {size} elements, more than the {most:,} allowed")
    plist = dataset.get_create_plist()
    if plist.get_layout() not in _LAYOUTS or plist.get_external_count():
        raise BadSliceError(name, path, "is refused: its data lie in another file")
    filters = {plist.get_filter(i)[0] for i in range(plist.get_nfilters())}
    if not filters <= _FILTERS:
        raise BadSliceError(name, path, f"is refused: HDF5 filters {sorted(filters - _FILTERS)}, not those of MATLAB")
    if plist.get_layout() == h5d.CHUNKED and int(np.prod(plist.get_chunk(), dtype=object)) > most:
        raise BadSliceError(name, path, f"is refused: chunks of {plist.get_chunk()} elements")
