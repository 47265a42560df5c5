"""Scans of a user as entries for a network: every slice as the image store would hold it, one at a time."""

from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from kdmri_monai.data.errors import BadSliceError
from kdmri_monai.data.findings import Finding
from kdmri_monai.data.limits import ReadLimits
from kdmri_monai.data.pixels import store_image
from kdmri_monai.data.scans import scan_slices

ALONE = -1
"""Number of the slice in an entry of a single picture: a batch holds no ``None``."""


class StoredScans:
    """Entries ``image``, ``stored``, ``name``, ``file``, ``slice`` and ``plane`` of every slice of files and folders.

    For ``monai.data.IterableDataset``. ``stored`` is the slice as ``kdmri prepare`` would store it, uint8
    ``(S, S)``; ``image`` the same as float32, for the preprocessing; ``slice`` its number or ``ALONE``; ``plane`` its
    name or an empty text. It can be walked any number of times, each time from the start.

    Args:
        paths: Files and folders, see ``scan_slices``; one may be given as a text.
        store_size: Side ``S`` of the stored images, pixels.
        plane: How NIfTI volumes are cut.
        slices: First and last slice of each volume that is wanted.
        limits: What a file may ask for.

    Attributes:
        paths: The files and folders.
        findings: What could not be used in the walk that began last, in order.

    Raises:
        ValueError: No paths; another plane; a range that is none.
    """

    def __init__(
        self,
        paths: str | PathLike[str] | Sequence[str | PathLike[str]],
        store_size: int = 256,
        plane: str | None = None,
        slices: Sequence[int] | None = None,
        limits: ReadLimits | None = None,
    ) -> None:
        several = [paths] if isinstance(paths, (str, PathLike)) else list(paths)
        self.paths = [Path(path) for path in several]
        if not self.paths:
            raise ValueError("no files and no folder: name them with --files or --dataset_dir")
        self.store_size, self.plane, self.limits = store_size, plane, limits
        self.slices: Any = tuple(slices) if isinstance(slices, Sequence) else slices
        self.findings: list[Finding] = []
        self._slices()  # a plane or a range that is none is told now

    def check(self) -> None:
        """Refuse a single path that is not there, before anything is loaded.

        Raises:
            FileNotFoundError: There is nothing of that name.
        """
        if len(self.paths) == 1 and not self.paths[0].exists():
            raise FileNotFoundError(
                f"there is no {self.paths[0]}: name a folder with --dataset_dir, or files with --files"
            )

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.findings = []
        for one in self._slices():
            if isinstance(one, Finding):
                self.findings.append(one)
                continue
            try:
                stored = store_image(one.pixels, self.store_size, one.name, "pixels")
            except BadSliceError as error:
                self.findings.append(Finding.of(error))
                continue
            yield {
                "image": stored.astype(np.float32),
                "stored": stored,
                "name": one.name,
                "file": one.path,
                "slice": ALONE if one.index is None else one.index,
                "plane": one.plane or "",
            }

    def _slices(self) -> Iterator[Any]:
        return scan_slices(self.paths, plane=self.plane, slices=self.slices, limits=self.limits)
