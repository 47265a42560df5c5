"""Where pretrained weights are and what is known of them: a run folder, a packed bundle, its zip, a bare file."""

import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any

from kdmri_monai.data.archive_window import ArchiveRef
from kdmri_monai.data.archives import open_archive, read_member
from kdmri_monai.data.json_object import read_json_object
from kdmri_monai.data.limits import MIB, ReadLimits
from kdmri_monai.data.taxonomy import CLASSES

WEIGHTS = ("model.pt", "models/model.pt", "models/model.safetensors")
"""Where a folder has its weights: a run, a bundle."""
METADATA, RECORD = "configs/metadata.json", "run.json"
LIMITS = ReadLimits(member_bytes=4096 * MIB, members=20_000)


@dataclass(frozen=True)
class PretrainedFiles:
    """Weights and the records that lie with them.

    Attributes:
        weights: File of the state dict.
        record: ``run.json`` of the run that trained them; ``None`` where there is none.
        metadata: ``metadata.json`` of the bundle that they were packed in; ``None`` where there is none.
    """

    weights: Path
    record: Mapping[str, Any] | None
    metadata: Mapping[str, Any] | None

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the classes that the head was trained for; ``None`` where nothing tells."""
        if self.record is not None:
            return tuple(self.record.get("data", {}).get("classes", CLASSES))  # before there were others: the three
        outputs = (self.metadata or {}).get("network_data_format", {}).get("outputs", {})
        channels = outputs.get("pred", {}).get("channel_def", {})
        return tuple(str(channels[key]) for key in sorted(channels, key=int)) if channels else None

    @property
    def datalist_sha256(self) -> str | None:
        """Checksum of the datalist that was trained on; ``None`` where nothing tells."""
        if self.record is not None:
            return self.record.get("data", {}).get("sha256")
        return (self.metadata or {}).get("training", {}).get("datalist_sha256")

    @property
    def pretrained(self) -> Mapping[str, Any] | None:
        """What these weights were themselves fine-tuned from, as ``run.json`` tells; ``None`` for nothing."""
        if self.record is not None:
            return self.record.get("settings", {}).get("pretrained")
        return (self.metadata or {}).get("training", {}).get("pretrained")


@contextmanager
def pretrained_files(path: str | PathLike[str]) -> Iterator[PretrainedFiles]:
    """The weights that a person names, and their records; of a zip as long as the context is open.

    Nothing is executed and no name in an archive becomes a path.

    Args:
        path: ``model.pt`` or ``.safetensors``, of a run folder or in ``models`` of an unpacked bundle; one of these two
            folders; or ``NAME.zip`` of a packed bundle.

    Raises:
        FileNotFoundError: There is no such file, or a folder or archive without weights.
        BadSourceError: The archive is damaged or must not be read.
        ValueError: A record is not a JSON object.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"pretrained: there is no file or folder {path}")
    if path.suffix.lower() == ".zip" and path.is_file():
        with tempfile.TemporaryDirectory(prefix="kdmri-") as folder:
            _take_out(path, Path(folder))
            yield _in_folder(Path(folder), path)
    else:
        yield _in_folder(path, path) if path.is_dir() else _of_file(path)


def _in_folder(folder: Path, named: Path) -> PretrainedFiles:
    found = [folder / name for name in WEIGHTS if (folder / name).is_file()]
    if not found:
        raise FileNotFoundError(f"pretrained: {named} has none of {', '.join(WEIGHTS)}")
    return _of_file(found[0])


def _of_file(weights: Path) -> PretrainedFiles:
    metadata = weights.parent.parent / METADATA if weights.parent.name == "models" else None
    return PretrainedFiles(weights, _read(weights.with_name(RECORD)), _read(metadata) if metadata else None)


def _take_out(path: Path, folder: Path) -> None:
    """Weights and metadata of a packed bundle, under names of our own; of two forms of the weights the first."""
    with open_archive(ArchiveRef.of(path, path.name), LIMITS) as archive:
        members = {_below_top(info): info for info in archive.infolist()}
        weights = next((name for name in WEIGHTS if name in members), None)
        for name in (weights, METADATA):
            if name in members:
                target = folder / str(name)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(read_member(archive, members[name], f"{path.name}/{name}", LIMITS))


def _below_top(info: zipfile.ZipInfo) -> str:
    """The name of a member without the one folder at the top."""
    return "/".join(PurePosixPath(info.filename).parts[1:])


def _read(path: Path) -> dict[str, Any] | None:
    return read_json_object(path) if path.is_file() else None
