"""Heat of many slices in one small file, for pictures."""

import zipfile
import zlib
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from kdmri_monai.data.atomic import replacing

FORMAT = "kdmri-heat-1"
MAX_GRID = 32
"""Rows and columns at most; heat is interpolated from coarser maps, so that nothing is lost."""

LEVELS = 255
FIELDS = ("id", "heat", "maximum", "method", "layer")


@dataclass(frozen=True, eq=False)
class HeatMaps:
    """Heat of N slices over the whole slice, whatever its size in pixels.

    Attributes:
        id: Unique names of the slices, shape ``(N,)``.
        heat: Shares of the slice's maximum, 255 the whole of it, rows first, shape ``(N, h, w)``, uint8.
        maximum: Largest heat of every slice, shape ``(N,)``, float32; 0 without heat.
        method: ``grad_cam`` or ``attention_rollout``.
        layer: What it read.

    Raises:
        ValueError: Shapes or types that differ from these, an empty or repeated id, a maximum below 0 or not finite.
    """

    id: NDArray[np.str_]
    heat: NDArray[np.uint8]
    maximum: NDArray[np.float32]
    method: str
    layer: str

    def __post_init__(self) -> None:
        for name, kind, dimensions in (("id", "U", 1), ("heat", "u1", 3), ("maximum", "f4", 1)):
            array = np.asarray(getattr(self, name))
            fits = array.dtype.kind == "U" if kind == "U" else array.dtype == np.dtype(kind)
            if not fits or array.ndim != dimensions or len(array) != len(self.id):
                raise ValueError(
                    f"{name} is {array.dtype} {array.shape}, expected {len(self.id)} of {kind} in {dimensions} axes"
                )
        if 0 in self.heat.shape[1:]:
            raise ValueError(f"heat is {self.heat.shape}, expected (N, h, w) with h and w of at least 1")
        if len(np.unique(self.id)) < len(self.id) or (self.id == "").any():
            raise ValueError("an id is empty or stands twice")
        if not (np.isfinite(self.maximum) & (self.maximum >= 0)).all():
            raise ValueError("a maximum is negative or not finite")

    def __len__(self) -> int:
        return len(self.id)

    def of(self, name: str) -> NDArray[np.float64]:
        """Heat of a slice as shares 0..1 of its maximum, shape ``(h, w)``.

        Raises:
            KeyError: No such slice.
        """
        found = np.flatnonzero(self.id == name)
        if not found.size:
            raise KeyError(f"there is no heat for slice {name!r}")
        return self.heat[found[0]] / float(LEVELS)


def small_heat(heat: Tensor) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Heat averaged over a grid of at most ``MAX_GRID`` rows and columns, in the proportions of the slice.

    Args:
        heat: Not negative, shape ``(B, 1, H, W)``.

    Returns:
        Shares of each slice's maximum ``(B, h, w)``, and the maxima ``(B,)`` of the averages, as in ``HeatMaps``.
    """
    largest = max(heat.shape[2:])
    rows, columns = (max(1, round(side * min(1, MAX_GRID / largest))) for side in heat.shape[2:])
    small = F.adaptive_avg_pool2d(heat.detach().double(), (rows, columns))[:, 0]
    maximum = small.amax((1, 2))
    shares = small / torch.where(maximum > 0, maximum, 1)[:, None, None]
    levels: NDArray[np.uint8] = (LEVELS * shares).round().to(torch.uint8).cpu().numpy()
    return levels, maximum.float().cpu().numpy()


def write_heat(maps: HeatMaps, path: str | PathLike[str]) -> None:
    """Writes heat as a NumPy archive; a file that is there stays whole until then.

    Raises:
        OSError: The file cannot be written; an older one is then as it was.
    """
    words = {"format": np.asarray(FORMAT), "method": np.asarray(maps.method), "layer": np.asarray(maps.layer)}
    arrays: dict[str, Any] = {"id": maps.id, "heat": maps.heat, "maximum": maps.maximum, **words}
    with replacing(Path(path)) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_heat(path: str | PathLike[str]) -> HeatMaps:
    """Reads what ``write_heat`` wrote; nothing in the file is run.

    Raises:
        OSError: No such file, or it cannot be read.
        ValueError: Not such a file, or one with wrong contents; the message names the file and the field.
    """
    try:
        with Path(path).open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            arrays = {name: archive[name] for name in getattr(archive, "files", ())}  # a plain array has none
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is no file of heat maps: {error}") from error
    missing = [name for name in ("format", *FIELDS) if name not in arrays]
    if missing:
        raise ValueError(f"{path} is no file of heat maps: it lacks {', '.join(missing)}")
    if arrays["format"].shape or str(arrays["format"]) != FORMAT:
        raise ValueError(f"{path}: format is {arrays['format']}, this version reads {FORMAT}")
    words = {name: str(arrays[name]) for name in ("method", "layer")}
    try:
        return HeatMaps(arrays["id"], arrays["heat"], arrays["maximum"], **words)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
