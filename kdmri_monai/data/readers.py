"""MONAI image readers: one slice of the image store, or one ``cjdata`` file.

    LoadImaged(keys=["image", "mask"], reader="kdmri_monai.data.readers.StoreReader")

Both give what a person sees, rows first: element ``[0, 0]`` is the upper left pixel. MONAI's ``PILReader`` gives
columns first; nothing here is transposed.

``read`` only notes what is asked for; the file is opened in ``get_data``. ``LoadImage`` answers an error in ``read`` by
trying all other readers on the same file, among them one that loads pickles, and hides the message; an error in
``get_data`` reaches the user as it is.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from monai.data import ImageReader
from monai.data.utils import is_supported_format
from monai.utils import MetaKeys, ensure_tuple
from numpy.typing import NDArray

from kdmri_monai.data.cjdata import MASK, read_cjdata
from kdmri_monai.data.errors import BadSliceError
from kdmri_monai.data.limits import ReadLimits
from kdmri_monai.data.records import RawSlice
from kdmri_monai.data.source_mat import read_file
from kdmri_monai.data.store import open_store, split_reference

Paths = Sequence[str | Path] | str | Path


class StoreReader(ImageReader):
    """Rows of ``images.npy`` and ``masks.npy``, named ``.../images.npy#17``.

    The file is mapped when its first row is asked for, once a process; a reader holds nothing and can be pickled,
    forked and spawned. Several references give their images stacked, channels first.
    """

    def verify_suffix(self, filename: Paths) -> bool:
        """Whether every name looks like ``images.npy#17``."""
        return all(".npy#" in str(name) for name in ensure_tuple(filename))

    def read(self, data: Paths, **kwargs: Any) -> tuple[str, ...]:
        """The references, as they are; nothing is opened."""
        return tuple(str(name) for name in ensure_tuple(data))

    def get_data(self, img: Sequence[str]) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Pixels and what MONAI needs to know of them.

        Args:
            img: From ``read``.

        Returns:
            float32, shape ``(S, S)``, or ``(C, S, S)`` for C references: 0..255 for images, 0 or 1 for masks; and the
            metadata.

        Raises:
            FileNotFoundError: There is no such store.
            IndexError: The store has fewer rows.
            ValueError: Not a reference, or not a store.
        """
        return _stacked([_stored_row(reference) for reference in img], {})


class CJDataReader(ImageReader):
    """One ``.mat`` file of the Figshare brain tumour set.

    Args:
        part: ``image``, or ``mask`` for the tumour.
        limits: What a file may ask for; the defaults where ``None``.

    Raises:
        ValueError: Another part.
    """

    def __init__(self, part: Literal["image", "mask"] = "image", limits: ReadLimits | None = None) -> None:
        super().__init__()
        if part not in ("image", "mask"):
            raise ValueError(f"part is {part!r}, allowed are 'image', 'mask'")
        self.part, self.limits = part, limits or ReadLimits()

    def verify_suffix(self, filename: Paths) -> bool:
        """Whether every name ends in ``.mat``."""
        return is_supported_format(filename, ["mat"])

    def read(self, data: Paths, **kwargs: Any) -> tuple[str, ...]:
        """The paths, as they are; nothing is opened."""
        return tuple(str(name) for name in ensure_tuple(data))

    def get_data(self, img: Sequence[str]) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Pixels as they are in the file, upright, and the metadata.

        Args:
            img: From ``read``.

        Returns:
            float32, shape ``(rows, columns)``, or ``(C, rows, columns)`` for C files; and metadata of the first:
            MONAI's, and ``label`` (0..2) and ``patient``.

        Raises:
            BadSliceError: The file cannot be used, or has no mask; file and field are named.
        """
        slices = [self._slice(Path(name)) for name in img]
        first = slices[0]
        arrays = [self._array(entry, name) for entry, name in zip(slices, img, strict=True)]
        return _stacked(arrays, {"label": first.label, "patient": first.patient})

    def _slice(self, path: Path) -> RawSlice:
        data = read_file(path, str(path), self.limits.member_bytes)
        return read_cjdata(data, str(path), path.stem, self.limits)

    def _array(self, entry: RawSlice, name: str) -> NDArray[np.float32]:
        if self.part == "image":
            return np.ascontiguousarray(entry.image, np.float32)
        if entry.mask is None:
            raise BadSliceError(name, MASK, "is missing")
        return np.ascontiguousarray(entry.mask, np.float32)


def _stored_row(reference: str) -> NDArray[np.float32]:
    path, row = split_reference(reference)
    store = open_store(path)
    if row >= len(store):
        raise IndexError(f"{path} has {len(store)} rows, counted from 0; asked for is row {row}")
    return store[row].astype(np.float32)


def _stacked(
    arrays: Sequence[NDArray[np.float32]], extra: dict[str, Any]
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """One image as it is, several with channels first; with MONAI's metadata."""
    affine = np.eye(4)
    meta = {
        MetaKeys.SPATIAL_SHAPE: np.asarray(arrays[0].shape),
        MetaKeys.AFFINE: affine,
        MetaKeys.ORIGINAL_AFFINE: affine.copy(),
        MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan") if len(arrays) == 1 else 0,
        **extra,
    }
    return (arrays[0] if len(arrays) == 1 else np.stack(arrays)), meta
