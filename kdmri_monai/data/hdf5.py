"""Datasets of an HDF5 file in memory, read without trusting it.

HDF5 can point out of the file: soft and external links, external storage, virtual datasets. None is followed. Shapes,
chunks and filters are checked before anything is allocated.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from h5py import h5a, h5d, h5f, h5g, h5l, h5o, h5s, h5z
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


def open_group(file: Any, name: str, group: str) -> Any:
    """A group at the top of a file, as an ``h5py.h5g.GroupID``.

    Args:
        file: From ``open_hdf5``.
        name: Name of the file for people.
        group: Name of the group.

    Raises:
        BadSliceError: Missing, a link, not a group.
    """
    try:
        node = _follow(h5g.open(file, b"/"), group, name, group)
    except _FAILURES as error:
        raise _told(error, name, group) from error
    if not isinstance(node, h5g.GroupID):
        raise BadSliceError(name, group, "is not a struct")
    return node


def has_dataset(group: Any, path: str, name: str) -> bool:
    """Whether a group has a member, be it allowed or not; links are not followed.

    Args:
        group: From ``open_group``.
        path: Names of group and member joined by ``/``.
        name: Name of the file for people.

    Raises:
        BadSliceError: The directory of the group is damaged.
    """
    try:
        return path.rpartition("/")[2].encode() in group
    except _FAILURES as error:
        raise _told(error, name, path) from error


def read_dataset(group: Any, path: str, name: str, most: int) -> NDArray[np.generic]:
    """A numeric dataset, as it lies in the file (MATLAB's columns are rows here).

    Args:
        group: From ``open_group``.
        path: Names of group and dataset joined by ``/``.
        name: Name of the file for people.
        most: Most elements.

    Returns:
        Array in native byte order; no elements where MATLAB marks the variable as empty.

    Raises:
        BadSliceError: Missing, not numeric, larger than allowed, stored outside the file, damaged.
    """
    try:
        dataset = _follow(group, path.rpartition("/")[2], name, path)
        if not isinstance(dataset, h5d.DatasetID):
            raise BadSliceError(name, path, "is not an array")
        if h5a.exists(dataset, b"MATLAB_empty"):
            return np.empty((0, 0))
        kind = _check_storage(dataset, path, name, most)
        array = np.empty(dataset.shape, kind.newbyteorder("="))
        dataset.read(h5s.ALL, h5s.ALL, array)
    except _FAILURES as error:
        raise _told(error, name, path) from error
    return array


def _follow(group: Any, member: str, name: str, path: str) -> Any:
    """A member of a group; hard links only."""
    key = member.encode()
    if key not in group:
        raise BadSliceError(name, path, "is missing")
    if group.links.get_info(key).type != h5l.TYPE_HARD:
        raise BadSliceError(name, path, "is refused: it is a soft or external link")
    return h5o.open(group, key)


def _told(error: Exception, name: str, path: str) -> BadSliceError:
    return error if isinstance(error, BadSliceError) else BadSliceError(name, path, f"is damaged: {error}")


def _check_storage(dataset: Any, path: str, name: str, most: int) -> np.dtype[Any]:
    """Refuse what is not a plain array of numbers inside the file; returns the type of its elements."""
    kind = dataset.dtype
    if kind.kind not in "iuf" or kind.itemsize > 8:
        raise BadSliceError(name, path, "does not hold numbers")
    if dataset.get_space().get_simple_extent_type() == h5s.NULL:
        raise BadSliceError(name, path, "is empty")
    shape = dataset.shape
    if math.prod(shape) > most:
        size = " x ".join(map(str, shape))
        raise BadSliceError(name, path, f"has {size} elements, more than the {most:,} allowed")
    plist = dataset.get_create_plist()
    layout = plist.get_layout()
    if layout not in _LAYOUTS or plist.get_external_count():
        raise BadSliceError(name, path, "is refused: its data lie in another file")
    filters = {plist.get_filter(i)[0] for i in range(plist.get_nfilters())}
    if not filters <= _FILTERS:
        raise BadSliceError(name, path, f"is refused: HDF5 filters {sorted(filters - _FILTERS)}, not those of MATLAB")
    if layout == h5d.CHUNKED and math.prod(plist.get_chunk()) > most:
        raise BadSliceError(name, path, f"is refused: chunks of {plist.get_chunk()} elements")
    return kind
