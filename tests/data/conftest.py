"""Files as the Figshare set is published, written by h5py and zipfile alone."""

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

HEADER = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 .".ljust(124) + b"\x00\x02IM"


def picture_of_a_blob(rows: int = 64, columns: int = 64, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a bright blob in the upper right, wider than high, and its mask."""
    image = np.random.default_rng(seed).integers(0, 400, (rows, columns)).astype(np.int16)
    mask = np.zeros((rows, columns), bool)
    mask[rows // 8 : rows // 4, columns // 2 : columns // 2 + 3 * columns // 8] = True
    image[mask] += 2000
    return image, mask


def matlab_file(write: Callable[[Any], None]) -> bytes:
    """A MATLAB v7.3 file: HDF5 behind a user block of 512 bytes."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=512) as file:
        write(file)
    return HEADER.ljust(512, b"\0") + buffer.getvalue()[512:]


def cjdata(
    image: Any = None, mask: Any = None, label: Any = 1.0, pid: Any = "100360", border: Any = (9.0, 8.0), **more: Any
) -> bytes:
    """A slice as published; a field that is ``...`` is left out, ``struct_x`` goes in as ``x``, as it is."""
    if image is None:
        image, blob = picture_of_a_blob()
        mask = blob if mask is None else mask

    def write(file: Any) -> None:
        struct = file.create_group("cjdata")
        codes = np.array([[ord(c)] for c in pid], np.uint16) if isinstance(pid, str) else pid
        fields = {
            "PID": codes,
            "image": image if image is ... else np.asarray(image).T,
            "label": label if label is ... else np.array([[label]], np.float64),
            "tumorBorder": border if border is ... else np.asarray(border, np.float64)[None, :],
            "tumorMask": ... if mask is ... or mask is None else np.asarray(mask, np.uint8).T,
            **{name.removeprefix("struct_"): value for name, value in more.items()},
        }
        for name, value in fields.items():
            if value is not ...:
                struct[name] = value

    return matlab_file(write)


def write_zip(path: Path, members: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """A zip archive with these members."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.fixture(scope="session", name="cjdata")
def _cjdata() -> Callable[..., bytes]:
    return cjdata


@pytest.fixture(scope="session", name="matlab_file")
def _matlab_file() -> Callable[..., bytes]:
    return matlab_file


@pytest.fixture(scope="session", name="write_zip")
def _write_zip() -> Callable[..., Path]:
    return write_zip


@pytest.fixture(scope="session", name="picture_of_a_blob")
def _picture_of_a_blob() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    return picture_of_a_blob


@pytest.fixture(scope="session")
def twelve_slices() -> dict[str, bytes]:
    """Slices 1 to 12 of six patients, two a class, no two alike."""
    slices = {}
    for number in range(1, 13):
        image, mask = picture_of_a_blob(seed=number)
        patient = (number - 1) // 2
        slices[f"{number}.mat"] = cjdata(image, mask, label=patient % 3 + 1, pid=f"10{patient}")
    return slices


@pytest.fixture
def four_archives(tmp_path: Path, twelve_slices: dict[str, bytes]) -> Path:
    """A folder with the slices in four archives, named as published, and the fold file beside them."""
    folder = tmp_path / "published"
    folder.mkdir()
    names = list(twelve_slices)
    for i, part in enumerate(("1766", "7671532", "15332298", "22993064")):
        members = {name: twelve_slices[name] for name in names[3 * i : 3 * i + 3]}
        write_zip(folder / f"brainTumorDataPublic_{part}.zip", members)
    (folder / "cvind.mat").write_bytes(matlab_file(lambda file: file.create_dataset("cvind", data=np.ones((1, 12)))))
    (folder / "README.txt").write_text("Brain tumor dataset\n")
    return folder
