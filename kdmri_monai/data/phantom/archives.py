"""Writes slices as the Figshare brain tumour set is published.

Four archives of ``N.mat``, each a MATLAB v7.3 (HDF5) file with the struct ``cjdata``; images and masks transposed,
because MATLAB stores columns first; ``cvind.mat`` with the fold of every slice; a README. Source: J. Cheng, doi
10.6084/m9.figshare.1512427, and the files themselves.
"""

import io
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from kdmri_monai.data.atomic import write_atomically
from kdmri_monai.data.records import RawSlice

ARCHIVES = ("1766", "7671532", "15332298", "22993064")
_HEADER = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 .".ljust(124) + b"\x00\x02IM"
_STAMP = (2015, 1, 1, 0, 0, 0)  # a fixed date, so that the same slices give the same bytes


def write_figshare(out: Path, slices: Sequence[RawSlice], folds: Sequence[int], readme: str) -> list[Path]:
    """Write slices into ``out`` as published.

    Args:
        out: Folder, made where it is missing.
        slices: Slices with masks and borders; the ids are their numbers, 1..N in order.
        folds: Fold of every slice, from 1.
        readme: Text of ``README.txt``; a folder whose README begins with the same word may be written over.

    Returns:
        The four archives.

    Raises:
        FileExistsError: The folder holds something else.
        ValueError: A slice lacks mask or border, or the folds are not as many as the slices.
    """
    if len(slices) != len(folds):
        raise ValueError(f"{len(slices)} slices and {len(folds)} folds")
    _refuse_foreign(out, readme)
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "README.txt", readme.encode())
    files = []
    for name, part in zip(ARCHIVES, np.array_split(np.arange(len(slices)), len(ARCHIVES)), strict=True):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for i in part:
                archive.writestr(zipfile.ZipInfo(f"{slices[i].id}.mat", _STAMP), slice_mat(slices[i]))
        files.append(out / f"brainTumorDataPublic_{name}.zip")
        write_atomically(files[-1], buffer.getvalue())
    cvind = np.asarray(folds, dtype=np.float64)[None, :]
    write_atomically(out / "cvind.mat", _mat(lambda file: _dataset(file, "cvind", cvind, "double")))
    return files


def slice_mat(raw: RawSlice) -> bytes:
    """Bytes of the ``.mat`` file of one slice.

    Raises:
        ValueError: The slice has no mask or no border.
    """
    mask, border = raw.mask, raw.border
    if mask is None or border is None:
        raise ValueError(f"slice {raw.id} has no mask or no border, which every published slice has")

    def write(file: h5py.File) -> None:
        struct = file.create_group("cjdata")
        struct.attrs["MATLAB_class"] = np.bytes_("struct")
        codes = np.array([[ord(character)] for character in raw.patient], np.uint16)
        _dataset(struct, "PID", codes, "char").attrs["MATLAB_int_decode"] = np.int32(2)
        packed = {"chunks": True, "compression": "gzip", "compression_opts": 3}
        _dataset(struct, "image", np.asarray(raw.image, np.int16).T, "int16", **packed)
        _dataset(struct, "label", np.array([[raw.label + 1.0]]), "double")
        _dataset(struct, "tumorBorder", (border + 1).reshape(1, -1), "double")  # MATLAB counts pixels from 1
        decoded = _dataset(struct, "tumorMask", mask.astype(np.uint8).T, "logical", **packed)
        decoded.attrs["MATLAB_int_decode"] = np.int32(1)

    return _mat(write)


def _dataset(group: Any, name: str, data: Any, matlab_class: str, **how: Any) -> Any:
    dataset = group.create_dataset(name, data=data, track_times=False, **how)
    dataset.attrs["MATLAB_class"] = np.bytes_(matlab_class)
    return dataset


def _mat(write: Callable[[h5py.File], Any]) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=512) as file:
        write(file)
    content = buffer.getbuffer()
    content[: len(_HEADER)] = _HEADER
    return bytes(content)


def _refuse_foreign(out: Path, readme: str) -> None:
    if not out.exists() or not any(out.iterdir()):
        return
    found = out / "README.txt"
    if not found.is_file() or found.read_text(errors="replace").split(" ")[0] != readme.split(" ")[0]:
        raise FileExistsError(f"{out} holds something that was not written here; choose an empty folder")
