"""What a run was: settings, resolved configuration, environment, data, seed and revision, in ``run.json``."""

import ast
import hashlib
import json
import platform
import shutil
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from monai.bundle import ConfigParser

from kdmri_monai.data.datalist import class_names, read_datalist
from kdmri_monai.engines.checkpoints import LAST
from kdmri_monai.engines.processes import once

FILE = "run.json"
PACKAGES = ("kdmri-monai", "monai", "torch", "pytorch-ignite", "numpy", "kornia", "scikit-learn", "h5py")
_MAY_CHANGE = {"device", "amp", "max_epochs", "dataset_dir"}


def start_run(
    folder: str | PathLike[str],
    settings: dict[str, Any],
    datalist: str | PathLike[str],
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """Open the folder of a run and write ``run.json``; beside it ``config.json`` when run from MONAI's command line.

    Of several processes the first one does it, and none goes on before it is done.

    Args:
        folder: Folder of the run, made where it is missing.
        settings: Tunables, plain values.
        datalist: The data that is trained on.
        resume: Continue what is in the folder; its settings must be the same.
        overwrite: Remove an earlier run from the folder first.

    Returns:
        The folder.

    Raises:
        FileExistsError: The folder holds a run, and neither ``resume`` nor ``overwrite`` was asked for.
        ValueError: A run with other settings is to be resumed.
        OtherProcessError: In the other processes, where the first one refuses.
    """
    once(lambda: _start_run(Path(folder), settings, Path(datalist), resume, overwrite))
    return Path(folder)


def _start_run(folder: Path, settings: dict[str, Any], datalist: Path, resume: bool, overwrite: bool) -> None:
    if overwrite and not resume and (folder / FILE).is_file():
        shutil.rmtree(folder)
    if (folder / FILE).is_file():
        if not resume and (folder / LAST).is_file():
            raise FileExistsError(
                f"output_dir {folder} already holds a run; continue it with --resume true, replace it with "
                "--overwrite true, or choose another --output_dir"
            )
        if resume:
            _refuse_other_settings(folder, settings)
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "settings": settings,
        "command": sys.argv,
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "data": _data(datalist),
        "environment": _environment(),
        "processes": {"world_size": idist.get_world_size(), "backend": idist.backend()},
        "git_revision": _git_revision(),
    }
    (folder / FILE).write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    files = config_files(sys.argv)
    if files:
        merged = json.dumps(ConfigParser.load_config_files(files), indent=1)
        (folder / "config.json").write_text(merged + "\n", encoding="utf-8")


def config_files(arguments: list[str]) -> list[str]:
    """Configuration files named on a command line of ``python -m monai.bundle``, in their order; none elsewhere."""
    for place, argument in enumerate(arguments[:-1]):
        if argument == "--config_file":
            value = arguments[place + 1]
            return list(ast.literal_eval(value)) if value.startswith(("[", "(")) else [value]
    return []


def _refuse_other_settings(folder: Path, settings: dict[str, Any]) -> None:
    before = json.loads((folder / FILE).read_text(encoding="utf-8"))["settings"]
    other = [
        f"{name} was {before.get(name)!r} and is {settings.get(name)!r}"
        for name in sorted(before.keys() | settings.keys())
        if name not in _MAY_CHANGE and before.get(name) != settings.get(name)
    ]
    if other:
        raise ValueError(f"the run in {folder} cannot be resumed with other settings: {'; '.join(other)}")


def _data(datalist: Path) -> dict[str, Any]:
    content = read_datalist(datalist)
    return {
        "datalist": str(datalist),
        "sha256": hashlib.sha256(datalist.read_bytes()).hexdigest(),
        "classes": list(class_names(content)),
        "slices": {split: len(content[split]) for split in ("training", "validation", "test")},
        "training_families": sorted({entry["family"] for entry in content["training"]}),
        "fold": content.get("fold"),
        "group_rule": content.get("group_rule"),
    }


def _environment() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "threads": torch.get_num_threads(),
        "cuda_device": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    package = Path(__file__).parent
    asked = subprocess.run(
        [git, "-C", str(package), "describe", "--always", "--dirty", "--abbrev=40"],
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() or None
